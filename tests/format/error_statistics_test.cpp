#include "nibble/format/error_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "nibble/core/thread_pool.hpp"
#include "nibble/format/pack_rows.hpp"
#include "support/catch.hpp"
#include "support/matrices.hpp"

using namespace nibble;

TEST_CASE("errors of a matrix against a plain computation", "[error_statistics]") {
  test::Random random(50);
  const auto matrix = test::random_matrix(make_format("int4", {.group_size = 32}), 21, 77, random);
  const auto values = test::random_floats(random, 21 * 77);
  const Matrix original = view_matrix(values.data(), 21, 77);
  const auto stored = matrix.dequantize().cast<double>().eval();
  const auto exact = original.cast<double>().eval();
  const double squares = (stored - exact).squaredNorm();

  const ErrorStatistics found = error_statistics(matrix, weight_source("w", original));
  // Either sums 1,617 positive terms in double in some order.
  constexpr double tolerance = 1617 * 0x1p-52;
  CHECK(std::abs(found.mse / (squares / (21 * 77)) - 1) <= tolerance);
  CHECK(found.maximum == (stored - exact).cwiseAbs().maxCoeff());
  CHECK(std::abs(std::pow(10, found.sqnr_db / 10) / (exact.squaredNorm() / squares) - 1) < 1e-11);
}

TEST_CASE("without error the ratio is infinite", "[error_statistics]") {
  const Matrix original = Matrix::Constant(3, 5, 0.1F);
  ThreadPool pool(1);
  const auto source = weight_source("w", original);
  const ErrorStatistics found =
      error_statistics(pack_floats(source, Float32Format{}, pool), source);
  CHECK(found.mse == 0);
  CHECK(found.maximum == 0);
  CHECK(found.sqnr_db == std::numeric_limits<double>::infinity());
}

TEST_CASE("errors of matrices of another shape are refused", "[error_statistics]") {
  test::Random random(51);
  const auto matrix = test::random_matrix(make_format("int8"), 3, 5, random);
  const Matrix original = Matrix::Zero(5, 3);
  CHECK_THROWS_WITH(error_statistics(matrix, weight_source("layers.0.w", original)),
                    "tensor 'layers.0.w': expected 5 x 3 weights, found 3 x 5");
}
