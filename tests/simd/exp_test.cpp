#include "nibble/simd/exp.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "support/catch.hpp"
#include "support/isas.hpp"

using nibble::simd::Floats;
using nibble::simd::lane_count;

namespace {

using Exponents = std::array<float, lane_count>;

template <class Isa>
Exponents exp_of(const Exponents& values) {
  Exponents results{};
  exp(Floats<Isa>::load(values.data())).store(results.data());
  return results;
}

/// |found - expected| in units of the last place of `expected`.
double ulp_error(float found, double expected) {
  const int exponent = std::max(std::ilogb(expected), -126);
  return std::abs(static_cast<double>(found) - expected) / std::ldexp(1.0, exponent - 23);
}

/// Whether a result is what exp promises.
bool is_exp(float value, float found) {
  if (std::isnan(value)) return std::isnan(found);
  const double expected = std::exp(static_cast<double>(value));
  if (value < -87.33F) return found >= 0 && expected < 1.2e-38 && found < 1.2e-38F;
  if (value > 88.37F && found == std::numeric_limits<float>::infinity()) return true;
  return ulp_error(found, expected) <= 2;
}

template <class Isa>
int wrong_exps(const Exponents& values) {
  const Exponents results = exp_of<Isa>(values);
  int failures = 0;
  for (std::size_t i = 0; i < lane_count; ++i) failures += !is_exp(values[i], results[i]);
  return failures;
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("exp is within 2 ULP between its ends", "[exp]", nibble::test::Isas) {
  // Every 1,021st of all floats, NaN and infinities among them.
  int failures = 0;
  Exponents values{};
  std::uint64_t bits = 0;
  while (bits < std::uint64_t{1} << 32) {
    for (float& value : values) {
      value = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
      bits += 1021;
    }
    failures += wrong_exps<TestType>(values);
  }
  CHECK(failures == 0);
}

TEMPLATE_LIST_TEST_CASE("exp is within 2 ULP around its ends and where it halves its range",
                        "[exp]", nibble::test::Isas) {
  int failures = 0;
  Exponents values{};
  const auto check_around = [&](float around) {
    float value = around - 0.0005F;
    for (int round = 0; round < 30; ++round) {
      for (float& v : values) v = value = std::nextafter(value, 1000.0F);
      failures += wrong_exps<TestType>(values);
    }
  };
  for (const float end : {-87.3365479F, 88.3762626F, 88.7228317F, -88.3762626F, -103.97F}) {
    check_around(end);
  }
  for (int half = -251; half <= 255; half += 2) {
    check_around(static_cast<float>(half * std::log(2.0) / 2));
  }
  CHECK(failures == 0);
}

TEMPLATE_LIST_TEST_CASE("exp at its ends", "[exp]", nibble::test::Isas) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const Exponents results = exp_of<TestType>(
      {-infinity, 0.0F, -0.0F, infinity, std::numeric_limits<float>::quiet_NaN(),
       std::numeric_limits<float>::lowest(), std::numeric_limits<float>::denorm_min(),
       std::numeric_limits<float>::max()});
  CHECK(results[0] == 0.0F);
  CHECK(results[1] == 1.0F);
  CHECK(results[2] == 1.0F);
  CHECK(results[3] == infinity);
  CHECK(std::isnan(results[4]));
  CHECK(results[5] == 0.0F);
  CHECK(results[6] == 1.0F);
  CHECK(results[7] == infinity);
}
