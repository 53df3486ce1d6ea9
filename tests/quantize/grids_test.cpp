#include "nibble/quantize/grids.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/random.hpp"

using namespace nibble;
using Catch::Matchers::ContainsSubstring;

namespace {

struct ReferenceGrid {
  float scale = 0;
  float step = 0;
  int zero = 0;
};

/// The authors' Quantizer step by step, in float32, and then the scale rounded to float16; zero
/// point and codes are chosen on the rounded scale if asymmetric, else codes on the authors' own.
ReferenceGrid reference_grid(const std::vector<float>& weights, int bits, bool asymmetric) {
  const float maxq = std::exp2(static_cast<float>(bits)) - 1;
  float xmin = std::min(*std::min_element(weights.begin(), weights.end()), 0.0F);
  float xmax = std::max(*std::max_element(weights.begin(), weights.end()), 0.0F);
  if (!asymmetric) {
    xmax = std::max(std::fabs(xmin), xmax);
    xmin = -xmax;
  }
  if (xmin == 0 && xmax == 0) {
    xmin = -1;
    xmax = 1;
  }
  const float step = (xmax - xmin) / maxq;
  const float scale = to_float(to_float16(step));
  if (!asymmetric) return {scale, scale == 0 ? 0 : step, static_cast<int>((maxq + 1) / 2)};
  if (scale == 0) return {scale, 0, 0};
  // The quotient of two floats in double, rounded to float: a float division.
  const auto quotient = static_cast<float>(-static_cast<double>(xmin) / scale);
  return {scale, scale, static_cast<int>(std::clamp(std::rint(quotient), 0.0F, maxq))};
}

int reference_code(float weight, const ReferenceGrid& grid, int bits) {
  if (grid.scale == 0) return grid.zero;
  const auto quotient = static_cast<float>(static_cast<double>(weight) / grid.step);
  return static_cast<int>(
      std::clamp(std::rint(static_cast<double>(quotient)) + grid.zero, 0.0, std::exp2(bits) - 1));
}

void check_group(const std::vector<float>& weights, int bits, bool asymmetric, int& failures) {
  const ReferenceGrid expected = reference_grid(weights, bits, asymmetric);
  const GroupGrid grid = min_max_grid(weights, bits, asymmetric, "w");
  const float scale = to_float(grid.scale);
  failures += scale != expected.scale || grid.zero != expected.zero || grid.step != expected.step;
  for (const float weight : weights) {
    const int code = nearest_code(weight, grid.step, grid.zero, bits);
    failures += code != reference_code(weight, expected, bits);
    // Half a step away; at the ends the grid falls short by half a step (the zero point is rounded;
    // a symmetric grid has one level less above 0) and by the rounding of the scale to float16.
    const double found = static_cast<double>(scale) * (code - grid.zero);
    const double rounding = std::exp2(bits) * (scale * 0x1p-11 + 0x1p-25);
    const double bound = (static_cast<double>(scale) / 2 + rounding) * (1 + 0x1p-20);
    failures += !(std::abs(found - weight) <= bound);
  }
}

}  // namespace

TEST_CASE("grids and codes are the authors' with float16 scales", "[grids]") {
  test::Random random(70);
  int failures = 0;
  for (int round = 0; round < 1500; ++round) {
    const float deviation = std::ldexp(1.0F, test::random_integer(random, -12, 4));
    std::vector<float> weights =
        test::random_floats(random, test::random_integer(random, 1, 130), deviation);
    if (round % 4 == 1) {
      for (float& weight : weights) weight = std::abs(weight);
    } else if (round % 4 == 2) {
      for (float& weight : weights) weight = -std::abs(weight);
    }
    for (const int bits : {2, 3, 4, 8}) {
      check_group(weights, bits, false, failures);
      check_group(weights, bits, true, failures);
    }
  }
  CHECK(failures == 0);
}

TEST_CASE("an all-zero group spans -1 to 1", "[grids]") {
  const std::vector<float> weights{0.0F, -0.0F, 0.0F};
  for (const int bits : {2, 3, 4, 8}) {
    for (const bool asymmetric : {false, true}) {
      const GroupGrid grid = min_max_grid(weights, bits, asymmetric, "w");
      const auto max_code = static_cast<float>((1 << bits) - 1);
      CAPTURE(bits, asymmetric);
      CHECK(grid.scale == to_float16(2 / max_code));
      // -min / scale lies around the middle, between two codes.
      CHECK(std::abs(grid.zero - max_code / 2) <= 0.5F);
      for (const float weight : weights) {
        CHECK(nearest_code(weight, grid.step, grid.zero, bits) == grid.zero);
      }
    }
  }
}

TEST_CASE("a scale that rounds to 0 gives every weight the zero point", "[grids]") {
  const std::vector<float> weights{0x1p-23F, -0x1p-24F, std::numeric_limits<float>::denorm_min()};
  for (const bool asymmetric : {false, true}) {
    const GroupGrid grid = min_max_grid(weights, 4, asymmetric, "w");
    CHECK(to_float(grid.scale) == 0);
    CHECK(grid.step == 0);
    CHECK(grid.zero == (asymmetric ? 0 : 8));
    for (const float weight : weights) CHECK(nearest_code(weight, 0, grid.zero, 4) == grid.zero);
  }
}

TEST_CASE("scales end at float16's largest", "[grids]") {
  const auto scale_of = [](float low, float high, int bits, bool asymmetric) {
    return to_float(
        min_max_grid(std::vector<float>{low, high}, bits, asymmetric, "layers.1.up").scale);
  };
  CHECK(scale_of(0, 65504.0F * 15, 4, true) == 65504.0F);
  CHECK(scale_of(-65504.0F * 1.5F, 0, 2, false) == 65504.0F);
  CHECK_THROWS_WITH(scale_of(0, 65505.0F * 15, 4, true),
                    ContainsSubstring("tensor 'layers.1.up'") && ContainsSubstring("65504"));
  CHECK_THROWS_AS(scale_of(0, 65505.0F * 1.5F, 2, false), Error);
  const float largest = std::numeric_limits<float>::max();
  for (const int bits : {2, 3, 4, 8}) {  // the range itself is infinite
    CHECK_THROWS_AS(scale_of(-largest, largest, bits, true), Error);
    CHECK_THROWS_AS(scale_of(-largest, largest, bits, false), Error);
  }
}

TEST_CASE("codes take ties to even and stay in range", "[grids]") {
  CHECK(nearest_code(0.5F, 1, 8, 4) == 8);
  CHECK(nearest_code(1.5F, 1, 8, 4) == 10);
  CHECK(nearest_code(-0.5F, 1, 8, 4) == 8);
  CHECK(nearest_code(-1.5F, 1, 8, 4) == 6);
  CHECK(nearest_code(2.5F, 1, 7, 4) == 9);  // the quotient is rounded, not its sum with the zero
  CHECK(nearest_code(7.49F, 1, 8, 4) == 15);
  CHECK(nearest_code(8.0F, 1, 8, 4) == 15);
  CHECK(nearest_code(1e30F, 1, 8, 4) == 15);
  CHECK(nearest_code(-1e30F, 1, 8, 4) == 0);
  CHECK(nearest_code(1e30F, 0x1p-24F, 128, 8) == 255);
}

TEST_CASE("zero-one codes", "[grids]") {
  const Range range{-1.0F, 1.0F};
  CHECK(zero_one_code(-1.0F, range) == 0);
  CHECK(zero_one_code(1.0F, range) == 255);
  CHECK(zero_one_code(0.0F, range) == 128);  // 127.5, to even
  CHECK(zero_one_code(-2.0F, range) == 0);
  CHECK(zero_one_code(2.0F, range) == 255);
  CHECK(zero_one_code(3.0F, Range{3.0F, 3.0F}) == 0);

  test::Random random(71);
  int failures = 0;
  for (int round = 0; round < 2000; ++round) {
    const std::vector<float> weights = test::random_floats(random, 9);
    const Range found = weight_range(weights, "w");
    failures += found.minimum != *std::min_element(weights.begin(), weights.end());
    failures += found.maximum != *std::max_element(weights.begin(), weights.end());
    failures += zero_one_code(found.minimum, found) != 0;
    failures += zero_one_code(found.maximum, found) != 255;
  }
  CHECK(failures == 0);
}

TEST_CASE("a range beyond float32 is refused", "[grids]") {
  const float largest = std::numeric_limits<float>::max();
  CHECK_THROWS_WITH(weight_range(std::vector<float>{-largest, largest}, "embed"),
                    ContainsSubstring("tensor 'embed'"));
  CHECK(weight_range(std::vector<float>{largest, 0.0F}, "embed").maximum == largest);
}
