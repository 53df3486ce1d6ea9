#include "nibble/quantize/output_errors.hpp"

#include "quantize/calibrations.hpp"
#include "support/catch.hpp"

using namespace nibble;

TEST_CASE("errors of outputs are those that the inputs make, from half the Gram matrix",
          "[output_errors]") {
  for (const Index cols : {1, 2, 33, 150}) {
    for (const Index rows : {1, 19}) {
      CAPTURE(cols, rows);
      const Matrix inputs = test::random_inputs(70, cols, 1);
      const WeightChanges changes = test::random_weights(rows, cols, 2).cast<double>();
      Eigen::MatrixXd hessian = test::hessian_of(inputs);
      hessian.triangularView<Eigen::StrictlyUpper>().setConstant(1e300);
      const Eigen::VectorXd found = output_errors(changes, hessian);
      for (Index row = 0; row < rows; ++row) {
        double sum = 0;
        double sizes = 0;  // of what is added up
        for (Index token = 0; token < inputs.rows(); ++token) {
          const auto products = changes.row(row).cwiseProduct(inputs.row(token).cast<double>());
          sum += std::pow(products.sum(), 2);
          sizes += std::pow(products.cwiseAbs().sum(), 2);
        }
        CHECK(std::abs(found[row] - sum) <= static_cast<double>(cols + 70) * 0x1p-52 * sizes);
      }
    }
  }
}
