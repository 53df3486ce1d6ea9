#include "nibble/quantize/row_scaling.hpp"

#include <cmath>
#include <vector>

#include "nibble/core/thread_pool.hpp"
#include "nibble/quantize/round_to_nearest.hpp"
#include "quantize/calibrations.hpp"
#include "support/catch.hpp"

using namespace nibble;

namespace {

float divisor_of(Index row) {
  return std::ldexp(1.0F, static_cast<int>(row % 5) - 2);
}

}  // namespace

TEST_CASE("rows are divided by powers of two exactly", "[row_scaling]") {
  ThreadPool pool(2);
  for (const AnyFormat& format : test::row_grid_formats()) {
    for (const Index cols : {5, 150}) {
      CAPTURE(describe_format(format), cols);
      // Large enough for every scale to stay normal.
      const Matrix weights = 100 * test::random_weights(35, cols, 1);
      const AnyMatrix matrix = round_to_nearest(weight_source("w", weights), format, pool);
      std::vector<float> divisors;
      for (Index row = 0; row < 35; ++row) divisors.push_back(divisor_of(row));
      const AnyMatrix divided = divide_rows(matrix, divisors, pool);
      CHECK(divided.format() == format);
      Matrix expected = matrix.dequantize();
      for (Index row = 0; row < 35; ++row) expected.row(row) /= divisor_of(row);
      CHECK(divided.dequantize() == expected);
      for (float& divisor : divisors) divisor = 1 / divisor;
      const AnyMatrix back = divide_rows(divided, divisors, pool);
      CHECK(std::ranges::equal(back.bytes(), matrix.bytes()));
    }
  }
}

TEST_CASE("rows are divided within what their grids can store", "[row_scaling]") {
  ThreadPool pool(1);
  Matrix weights = test::random_weights(4, 70, 2);
  weights.row(1) *= 1e-4F;
  weights.row(2).setZero();
  weights.row(3) *= 3e6F;
  const AnyMatrix group_ints =
      round_to_nearest(weight_source("w", weights), GroupInt<4>{32, true}, pool);
  const std::vector<ScaleLimits::Range> ranges = row_divisors(group_ints);
  REQUIRE(ranges.size() == 4);
  for (const ScaleLimits::Range& range : ranges) {
    CHECK(range.low <= 1);
    CHECK(range.high >= 1);
  }
  CHECK(ranges[0].high > 50);
  CHECK(ranges[1].high == 1);  // its scales are subnormal already
  CHECK(ranges[3].low > 0.1F);
  for (const bool low : {true, false}) {
    std::vector<float> divisors;
    for (const ScaleLimits::Range& range : ranges) divisors.push_back(low ? range.low : range.high);
    divisors[2] = 1;
    const Matrix divided = divide_rows(group_ints, divisors, pool).dequantize();
    REQUIRE(divided.allFinite());
    const Matrix before = group_ints.dequantize();
    for (Index row = 0; row < 4; ++row) {
      if (row == 1 && low) continue;
      const float divisor = divisors[static_cast<std::size_t>(row)];
      const float bound = 0x1p-10F * (before.row(row) / divisor).cwiseAbs().maxCoeff();
      CHECK((divided.row(row) - before.row(row) / divisor).cwiseAbs().maxCoeff() <= bound);
    }
  }
  const AnyMatrix ranged = round_to_nearest(weight_source("w", weights), ZeroOneInt8{}, pool);
  for (const ScaleLimits::Range& range : row_divisors(ranged)) CHECK(range.low < 1e-30F);
}
