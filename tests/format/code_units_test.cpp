#include "nibble/format/code_units.hpp"

#include <array>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <vector>

#include "support/catch.hpp"
#include "support/isas.hpp"
#include "support/random.hpp"

using nibble::CodeUnit;
using nibble::Index;

TEMPLATE_LIST_TEST_CASE("units unpack to quads of codes", "[code_units]", nibble::test::Isas) {
  const auto check = []<int Bits>(std::integral_constant<int, Bits>) {
    using Unit = CodeUnit<Bits>;
    nibble::test::Random random(20 + Bits);
    std::array<std::array<unsigned, Unit::inputs>, 16> codes{};
    alignas(64) std::array<std::byte, Unit::bytes> bytes{};
    for (std::size_t row = 0; row < 16; ++row) {
      for (std::size_t col = 0; col < Unit::inputs; ++col) {
        codes[row][col] = nibble::test::random_integer(random, 0U, (1U << Bits) - 1U);
        Unit::write(bytes.data(), static_cast<Index>(row), static_cast<Index>(col),
                    codes[row][col]);
      }
    }
    nibble::simd::Words<TestType> quads[Unit::quads];
    Unit::template unpack<TestType>(bytes.data(), quads);
    int failures = 0;
    for (std::size_t quad = 0; quad < Unit::quads; ++quad) {
      std::array<std::uint8_t, 64> vector{};
      std::array<std::uint32_t, 16> words{};
      quads[quad].store(words.data());
      std::memcpy(vector.data(), words.data(), sizeof vector);
      for (std::size_t row = 0; row < 16; ++row) {
        for (std::size_t j = 0; j < 4; ++j) {
          failures += vector[4 * row + j] != codes[row][4 * quad + j];
          failures += Unit::read(bytes.data(), static_cast<Index>(row),
                                 static_cast<Index>(4 * quad + j)) != codes[row][4 * quad + j];
        }
      }
    }
    CAPTURE(Bits);
    CHECK(failures == 0);
  };
  check(std::integral_constant<int, 8>{});
  check(std::integral_constant<int, 4>{});
  check(std::integral_constant<int, 3>{});
  check(std::integral_constant<int, 2>{});
}
