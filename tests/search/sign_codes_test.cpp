#include "nibble/search/sign_codes.hpp"

#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/random.hpp"

using namespace nibble;

TEST_CASE("sign bits lie as numpy.packbits puts them", "[sign_codes]") {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  Matrix vectors(2, 11);
  vectors << 1, -1, 0, 2, -0.0F, nan, 1e-30F, -3, 5, -5, 5,  //
      -1, -1, -1, -1, -1, -1, -1, 1, -1, -1, 1;
  // numpy: np.packbits(vectors > 0, axis=-1) is [[146, 160], [1, 32]]
  ByteMatrix expected(2, 2);
  expected << 146, 160, 1, 32;
  CHECK(pack_signs(vectors) == expected);
  CHECK(to_binary(146) == 18);
  CHECK(to_binary(1) == -127);
  for (int byte = 0; byte < 256; ++byte) {
    CHECK(to_ubinary(to_binary(static_cast<std::uint8_t>(byte))) == byte);
  }
}

TEST_CASE("sign bits of every length", "[sign_codes]") {
  test::Random random(42);
  for (Index dims = 0; dims <= 40; ++dims) {
    const auto vector = test::random_floats(random, dims);
    std::vector<std::uint8_t> bits(static_cast<std::size_t>(sign_bytes(dims)) + 1, 0xAA);
    pack_signs(vector, bits.data());
    for (Index i = 0; i < 8 * sign_bytes(dims); ++i) {
      const bool set = ((bits[static_cast<std::size_t>(i / 8)] >> (7 - i % 8)) & 1) != 0;
      CHECK(set == (i < dims && vector[static_cast<std::size_t>(i)] > 0));
    }
    CHECK(bits.back() == 0xAA);
  }
}
