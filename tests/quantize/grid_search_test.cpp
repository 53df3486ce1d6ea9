#include "nibble/quantize/grid_search.hpp"

#include <cmath>
#include <vector>

#include "support/catch.hpp"
#include "support/random.hpp"

using namespace nibble;

namespace {

double weighted_error(const GroupGrid& grid, const std::vector<float>& weights,
                      const std::vector<float>& importance, int bits) {
  double error = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const int code = nearest_code(weights[i], grid.step, grid.zero, bits);
    const double difference =
        weights[i] - static_cast<double>(to_float(grid.scale)) * (code - grid.zero);
    error += importance[i] * difference * difference;
  }
  return error;
}

template <int Bits>
void check_search(unsigned seed, Index size, bool asymmetric) {
  test::Random random(seed);
  const std::vector<float> weights = test::random_floats(random, size, 0.05F);
  std::vector<float> importance = test::random_floats(random, size);
  for (float& each : importance) each = each * each + 0.01F;
  const GroupGrid found = GridSearch<Bits>(weights, importance).best(asymmetric, "w");
  const GroupGrid start = min_max_grid(weights, Bits, asymmetric, "w");
  CHECK(found.step != 0);
  // The search takes differences and adds up in float.
  double squares = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    squares += static_cast<double>(importance[i]) * weights[i] * weights[i];
  }
  const double least = weighted_error(found, weights, importance, Bits);
  const auto no_better = [&](const GroupGrid& grid) {
    const double other = weighted_error(grid, weights, importance, Bits);
    const double sums = (static_cast<double>(size) + 4) * 0x1p-23 * other;
    return least <= other + sums + 0x1p-20 * std::sqrt(other * squares) + 0x1p-42 * squares;
  };
  CHECK(no_better(start));
  CHECK((asymmetric || found.zero == 1 << (Bits - 1)));
  for (int i = 0; i < 45; ++i) {
    const float factor = 0.5F + 0.55F * static_cast<float>(i) / 44;
    const Float16 scale = to_float16(to_float(start.scale) * factor);
    for (int zero = start.zero - 1; zero <= start.zero + 1; ++zero) {
      const bool tried = zero == start.zero || (asymmetric && zero >= 0 && zero < 1 << Bits);
      if (!tried) continue;
      CHECK(no_better({scale, static_cast<std::uint8_t>(zero), to_float(scale)}));
    }
  }
}

}  // namespace

TEST_CASE("a searched grid is never worse than the range's", "[grid_search]") {
  for (unsigned seed = 0; seed < 8; ++seed) {
    for (const Index size : {1, 2, 31, 128}) {
      for (const bool asymmetric : {false, true}) {
        CAPTURE(seed, size, asymmetric);
        check_search<2>(seed, size, asymmetric);
        check_search<3>(seed, size, asymmetric);
        check_search<4>(seed, size, asymmetric);
        check_search<8>(seed, size, asymmetric);
      }
    }
  }
}

TEST_CASE("a symmetric grid uses its lowest code for the largest weight", "[grid_search]") {
  for (const float sign : {1.0F, -1.0F}) {
    std::vector<float> weights;
    for (int level = -8; level <= 7; ++level) {
      weights.push_back(sign * 0.25F * static_cast<float>(level));
    }
    const std::vector<float> importance(16, 1.0F);
    const GroupGrid grid = GridSearch<4>(weights, importance).best(false, "w");
    CHECK(to_float(grid.scale) == sign * 0.25F);
    CHECK(weighted_error(grid, weights, importance, 4) == 0);
  }
}

TEST_CASE("groups of zeros, and weights that no scale holds, are as without a search",
          "[grid_search]") {
  const std::vector<float> importance(3, 1.0F);
  for (const bool asymmetric : {false, true}) {
    const std::vector<float> zeros(3, 0.0F);
    const GroupGrid grid = GridSearch<4>(zeros, importance).best(asymmetric, "w");
    for (const float zero : zeros) CHECK(nearest_code(zero, grid.step, grid.zero, 4) == grid.zero);
    const std::vector<float> tiny(3, 1e-9F);
    CHECK(GridSearch<4>(tiny, importance).best(asymmetric, "w").step == 0);
    const std::vector<float> huge(3, 1e20F);
    CHECK_THROWS_WITH(GridSearch<4>(huge, importance).best(asymmetric, "w"),
                      Catch::Matchers::ContainsSubstring("tensor 'w'"));
  }
}
