#include "nibble/core/checked.hpp"

#include <cstdint>
#include <limits>

#include "support/catch.hpp"

using nibble::checked_add;
using nibble::checked_multiply;

// Every pair of 8-bit values, against arithmetic that cannot overflow.
TEST_CASE("checked arithmetic is exact or nothing", "[checked]") {
  for (unsigned a = 0; a < 256; ++a) {
    for (unsigned b = 0; b < 256; ++b) {
      const auto x = static_cast<std::uint8_t>(a);
      const auto y = static_cast<std::uint8_t>(b);
      const auto product = checked_multiply(x, y);
      const auto sum = checked_add(x, y);
      if (product.has_value() != (a * b < 256) || sum.has_value() != (a + b < 256))
        FAIL(a << ", " << b);
      if (product && *product != a * b) FAIL(a << " * " << b << " = " << unsigned{*product});
      if (sum && *sum != a + b) FAIL(a << " + " << b << " = " << unsigned{*sum});
    }
  }
}

TEST_CASE("checked arithmetic at the end of 64 bits", "[checked]") {
  constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
  CHECK(checked_multiply(most, std::uint64_t{1}) == most);
  CHECK(checked_multiply(most / 2 + 1, std::uint64_t{2}) == std::nullopt);
  CHECK(checked_multiply(std::uint64_t{1} << 32, std::uint64_t{1} << 32) == std::nullopt);
  CHECK(checked_multiply(std::uint64_t{0}, most) == std::uint64_t{0});
  CHECK(checked_add(most - 1, std::uint64_t{1}) == most);
  CHECK(checked_add(most, std::uint64_t{1}) == std::nullopt);
}

TEST_CASE("round_up and divide_up", "[checked]") {
  STATIC_REQUIRE(nibble::round_up(0, 16) == 0);
  STATIC_REQUIRE(nibble::round_up(1, 16) == 16);
  STATIC_REQUIRE(nibble::round_up(16, 16) == 16);
  STATIC_REQUIRE(nibble::round_up(17, 16) == 32);
  STATIC_REQUIRE(nibble::divide_up(0, 3) == 0);
  STATIC_REQUIRE(nibble::divide_up(3, 3) == 1);
  STATIC_REQUIRE(nibble::divide_up(nibble::Index{4}, nibble::Index{3}) == 2);
}
