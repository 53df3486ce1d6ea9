#include "nibble/search/odd_levels.hpp"

#include <cmath>
#include <vector>

#include "support/catch.hpp"
#include "support/random.hpp"

using namespace nibble;

namespace {

/// The odd integers that a code stands for.
std::vector<int> decode(const std::vector<std::uint8_t>& code, Index dims, int bits) {
  std::vector<int> levels(static_cast<std::size_t>(dims), 0);
  for (Index i = 0; i < dims; ++i) {
    for (int j = 0; j < bits; ++j) {
      const auto byte = code[static_cast<std::size_t>(j * sign_bytes(dims) + i / 8)];
      const int sign = ((byte >> (7 - i % 8)) & 1) != 0 ? 1 : -1;
      levels[static_cast<std::size_t>(i)] += sign * (1 << (bits - 1 - j));
    }
  }
  return levels;
}

}  // namespace

TEST_CASE("codes are odd integers near the vector's direction", "[odd_levels]") {
  test::Random random(46);
  OddLevelScratch scratch;
  for (const Index dims : {1, 7, 64, 333}) {
    for (int bits = 1; bits <= max_code_bits; ++bits) {
      CAPTURE(dims, bits);
      const auto vector = test::random_floats(random, dims, 0.01F);
      std::vector<std::uint8_t> code(static_cast<std::size_t>(code_bytes(dims, bits)), 0xFF);
      const float product = encode_odd_levels(vector, bits, code.data(), scratch);

      std::vector<std::uint8_t> signs(static_cast<std::size_t>(sign_bytes(dims)));
      pack_signs(vector, signs.data());
      CHECK(std::equal(signs.begin(), signs.end(), code.begin()));

      const auto levels = decode(code, dims, bits);
      double exact = 0, code_norm = 0, norm = 0;
      for (std::size_t i = 0; i < levels.size(); ++i) {
        CHECK(std::abs(levels[i]) < 1 << bits);
        exact += static_cast<double>(levels[i]) * vector[i];
        code_norm += static_cast<double>(levels[i]) * levels[i];
        norm += static_cast<double>(vector[i]) * vector[i];
      }
      // All terms are positive; a product, and sums in any order.
      CHECK(std::abs(product - exact) <= static_cast<double>(dims + 1) * 0x1p-24 * exact);
      if (dims < 300) continue;
      // A uniform quantizer of 2^bits steps leaves of a Gaussian's variance 0.363, 0.119, 0.0374,
      // 0.0115, 0.0035, 0.00104, 0.0003 and 0.00009 (Max, 1960), so the squared sine is about that.
      const double squared_sine = 1 - exact * exact / code_norm / norm;
      const double least[] = {0.363, 0.119, 0.0374, 0.0115, 0.0035, 0.00104, 0.0003, 0.00009};
      CHECK(squared_sine < 1.25 * least[bits - 1]);

      // The step for normally distributed components does about as well where they are such.
      const double gaussian =
          encode_odd_levels(vector, bits, code.data(), scratch, StepChoice::Gaussian);
      CHECK(std::equal(signs.begin(), signs.end(), code.begin()));
      const double levels_norm = scratch.levels.cast<double>().square().sum();
      CHECK(1 - gaussian * gaussian / levels_norm / norm < 1.4 * least[bits - 1]);
    }
  }
}

TEST_CASE("the code of nothing", "[odd_levels]") {
  OddLevelScratch scratch;
  const std::vector<float> zeros(9, 0.0F);
  std::vector<std::uint8_t> code(6, 0xFF);
  CHECK(encode_odd_levels(zeros, 3, code.data(), scratch) == 0);
  CHECK(code[0] == 0);
}
