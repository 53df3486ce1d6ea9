#include "nibble/quantize/input_correction.hpp"

#include <Eigen/LU>

#include "nibble/core/thread_pool.hpp"
#include "quantize/calibrations.hpp"
#include "support/catch.hpp"

using namespace nibble;

TEST_CASE("corrected weights reproduce the outputs of the exact inputs best",
          "[input_correction]") {
  ThreadPool pool(2);
  for (const Index cols : {1, 5, 70}) {
    const Matrix exact = test::random_inputs(4 * cols, cols, 1);
    const Matrix seen = exact + 0.2F * test::random_inputs(4 * cols, cols, 2);
    const Eigen::MatrixXd x = exact.cast<double>();
    const Eigen::MatrixXd y = seen.cast<double>();
    const InputStatistics statistics{y.transpose() * y, y.transpose() * x};
    const auto factor = factor_hessian(statistics.hessian,
                                       quantization_order(statistics.hessian, true), 0.01, pool);
    REQUIRE(factor);
    const Eigen::MatrixXd weights = test::random_inputs(3, cols, 3).cast<double>();

    for (const double strength : {1.0, 0.5}) {
      RowTile tile = test::tile_of(weights);
      correct_for_inputs(tile, statistics.cross - statistics.hessian, *factor, strength);
      const Eigen::MatrixXd corrected = test::rows_of(tile, weights.rows());
      // Ridge regression of the change: || (W' - W) Y^T - W (X - Y)^T ||^2 + damping ||W' - W||^2.
      Eigen::MatrixXd damped = statistics.hessian;
      damped.diagonal().array() += factor->damping;
      const Eigen::MatrixXd change =
          weights * (x - y).transpose() * y * damped.inverse() * strength;
      CHECK((corrected - weights - change).cwiseAbs().maxCoeff() <
            1e-9 * weights.cwiseAbs().maxCoeff());
    }
    RowTile same = test::tile_of(weights);
    correct_for_inputs(same, Eigen::MatrixXd::Zero(cols, cols), *factor, 1);
    CHECK(test::rows_of(same, weights.rows()) == weights);
  }
}
