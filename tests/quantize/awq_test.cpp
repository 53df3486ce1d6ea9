#include "nibble/quantize/awq.hpp"

#include <cstring>
#include <limits>
#include <vector>

#include "nibble/core/thread_pool.hpp"
#include "quantize/calibrations.hpp"
#include "support/catch.hpp"

using namespace nibble;
using Catch::Matchers::ContainsSubstring;

namespace {

CalibratedMatrix awq(const Matrix& weights, const AnyFormat& format, const Matrix& inputs,
                     const Awq& options = {}, int threads = 2) {
  ThreadPool pool(threads);
  return quantize_awq(weight_source("w", weights), format, {test::hessian_of(inputs), {}}, options,
                      pool);
}

Matrix rounded(const Matrix& weights, const AnyFormat& format) {
  ThreadPool pool(1);
  return round_to_nearest(weight_source("w", weights), format, pool).dequantize();
}

/// The squared change of a row's outputs, by running it.
double change_of_outputs(const Matrix& weights, const Matrix& quantized, Index row,
                         const Matrix& inputs) {
  const Eigen::VectorXd change =
      (quantized.row(row).cast<double>() - weights.row(row).cast<double>());
  return (inputs.cast<double>() * change).squaredNorm();
}

}  // namespace

TEST_CASE("AWQ's rows are on clipped grids, or rounded to nearest where that is better", "[awq]") {
  Index clipped_rows = 0;
  Index nearest_rows = 0;
  for (const AnyFormat& any_format : test::row_grid_formats()) {
    for (const Index cols : {3, 33, 150}) {
      CAPTURE(describe_format(any_format), cols);
      const Matrix weights = test::random_weights(19, cols, 1);
      const Matrix inputs = test::random_inputs(80, cols, 2);
      const CalibratedMatrix found = awq(weights, any_format, inputs);
      CHECK(found.matrix.format() == any_format);
      const Matrix stored = found.matrix.dequantize();
      const Matrix nearest = rounded(weights, any_format);
      Matrix clipped(19, cols);
      std::visit(
          [&]<class F>(const F& format) {
            if constexpr (GridFormat<F>) {
              auto grids = search_clips(weights, format, test::hessian_of(inputs), "w");
              for (Index row = 0; row < 19; ++row) {
                const GridRow<F> codes = nearest_row<F>(
                    {weights.row(row).data(), static_cast<std::size_t>(cols)}, format.layout(cols),
                    std::move(grids[static_cast<std::size_t>(row)]));
                for (Index col = 0; col < cols; ++col) {
                  clipped(row, col) = codes.value(format.layout(cols), col);
                }
              }
            }
          },
          any_format);
      double error = 0;
      double nearest_error = 0;
      for (Index row = 0; row < 19; ++row) {
        const double of_clipped = change_of_outputs(weights, clipped, row, inputs);
        const double of_nearest = change_of_outputs(weights, nearest, row, inputs);
        if (clipped.row(row) != nearest.row(row)) {
          CHECK(stored.row(row) == (of_clipped <= of_nearest ? clipped : nearest).row(row));
          (of_clipped <= of_nearest ? clipped_rows : nearest_rows) += 1;
        }
        error += std::min(of_clipped, of_nearest);
        nearest_error += of_nearest;
      }
      CHECK(found.report.error == Approx(error).epsilon(1e-9).margin(1e-20));
      CHECK(found.report.nearest_error == Approx(nearest_error).epsilon(1e-9));
      CHECK(found.report.error <= found.report.nearest_error);
      CHECK(found.report.errors_known());
      CHECK(awq(weights, any_format, inputs, {.clip = false}).matrix.dequantize() == nearest);
    }
  }
  CHECK(clipped_rows > 0);
  CHECK(nearest_rows > 0);
}

TEST_CASE("AWQ's bytes do not depend on the number of threads", "[awq]") {
  const Matrix weights = test::random_weights(83, 150, 3);
  const Matrix inputs = test::random_inputs(200, 150, 4);
  for (const AnyFormat& format : test::all_formats()) {
    INFO(describe_format(format));
    const CalibratedMatrix one = awq(weights, format, inputs, {}, 1);
    const CalibratedMatrix many = awq(weights, format, inputs, {}, 3);
    REQUIRE(one.matrix.bytes().size() == many.matrix.bytes().size());
    CHECK(std::memcmp(one.matrix.bytes().data(), many.matrix.bytes().data(),
                      one.matrix.bytes().size()) == 0);
    CHECK(one.report.error == many.report.error);
    if (has_row_grids(format)) continue;
    CHECK_FALSE(one.report.errors_known());
    CHECK(one.report.nearest_rows == 83);
    CHECK(one.matrix.dequantize() == rounded(weights, format));
  }
}

TEST_CASE("AWQ asks for scales unless told otherwise", "[awq]") {
  CHECK(Awq{}.needs().scaling);
  CHECK_FALSE(Awq{.scaling = false}.needs().scaling);
  CHECK_FALSE(Awq{}.needs().cross);
}

TEST_CASE("AWQ takes inputs that are all zero or constant, and refuses what is not finite",
          "[awq]") {
  Matrix weights = test::random_weights(20, 40, 5);
  const AnyFormat format = GroupInt<4>{32, true};
  CHECK(awq(weights, format, Matrix::Zero(9, 40)).matrix.dequantize() == rounded(weights, format));
  const CalibratedMatrix constant = awq(weights, format, Matrix::Constant(9, 40, 2.0F));
  CHECK(constant.report.error < constant.report.nearest_error);
  CHECK_THROWS_WITH(awq(weights, format, Matrix::Zero(9, 41)), ContainsSubstring("tensor 'w'"));

  Matrix inputs = Matrix::Constant(9, 40, 2.0F);
  inputs(3, 17) = std::numeric_limits<float>::infinity();
  CHECK_THROWS_WITH(awq(weights, format, inputs), ContainsSubstring("tensor 'w': input 17"));
  weights(18, 39) = std::numeric_limits<float>::quiet_NaN();
  for (const AnyFormat& any_format : test::all_formats()) {
    CHECK_THROWS_WITH(awq(weights, any_format, Matrix::Zero(9, 40)),
                      ContainsSubstring("tensor 'w': weight [18][39]"));
  }
}
