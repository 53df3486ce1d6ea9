#include "nibble/core/half.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "support/catch.hpp"
#include "support/random.hpp"

#if defined(__F16C__)
#include <immintrin.h>
#endif

using nibble::BFloat16;
using nibble::Float16;
using nibble::from_float;
using nibble::to_bfloat16;
using nibble::to_float;
using nibble::to_float16;

TEST_CASE("binary16 that is infinite or NaN has an exponent of ones", "[half]") {
  int wrong = 0;
  for (std::uint32_t bits = 0; bits <= 0xFFFF; ++bits) {
    const Float16 value{static_cast<std::uint16_t>(bits)};
    wrong += nibble::is_finite(value) != std::isfinite(to_float(value));
  }
  CHECK(wrong == 0);
}

namespace {

/// A finite magnitude in a binary format of `mantissa` stored bits, as the format's definition has
/// it: a multiple of the quantum of its binade. In double, where all of it is exact.
template <int Mantissa, int LeastExponent, int MaxBiased>
std::uint16_t reference_bits(float value) {
  const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000 : 0);
  const double magnitude = std::abs(static_cast<double>(value));
  if (std::isinf(value)) return static_cast<std::uint16_t>(sign | (MaxBiased << Mantissa));
  const int exponent =
      magnitude == 0 ? LeastExponent : std::max(std::ilogb(magnitude), LeastExponent);
  const double quantum = std::ldexp(1.0, exponent - Mantissa);
  const double multiple = std::nearbyint(magnitude / quantum);  // to even; up to 2^(Mantissa + 1)
  const int biased = exponent - LeastExponent;                  // of a normal number, less 1
  const double bits = std::ldexp(biased, Mantissa) + multiple;  // a carry moves up by itself
  return static_cast<std::uint16_t>(
      sign | static_cast<int>(std::min(bits, std::ldexp(MaxBiased, Mantissa))));
}

std::uint16_t reference_float16(float value) {
  return reference_bits<10, -14, 31>(value);
}
std::uint16_t reference_bfloat16(float value) {
  return reference_bits<7, -126, 255>(value);
}

double reference_value(Float16 half) {
  const int exponent = half.bits >> 10 & 31;
  const int mantissa = half.bits & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  return (half.bits & 0x8000) != 0 ? -magnitude : magnitude;
}

bool is_nan(Float16 value) {
  return (value.bits & 0x7FFF) > 0x7C00;
}
bool is_nan(BFloat16 value) {
  return (value.bits & 0x7FFF) > 0x7F80;
}

template <class Visit>
void for_all_patterns(Visit&& visit) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) visit(static_cast<std::uint16_t>(bits));
}

/// Around every number and every tie of a 16-bit format, and everywhere else at random.
template <class T>
std::vector<float> adversarial_floats() {
  std::vector<float> values;
  for_all_patterns([&](std::uint16_t bits) {
    const float value = to_float(T{bits});
    if (std::isnan(value)) return;
    const auto exact = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t next =
        std::bit_cast<std::uint32_t>(to_float(T{static_cast<std::uint16_t>(bits + 1)}));
    const std::uint32_t middle = exact + (next - exact) / 2;  // in normal range: the tie
    for (const std::uint32_t at : {exact, exact + 1, exact - 1, middle, middle + 1, middle - 1}) {
      values.push_back(std::bit_cast<float>(at));
    }
    values.push_back(static_cast<float>((static_cast<double>(value) + std::bit_cast<float>(next)) /
                                        2));  // the tie anywhere
  });
  nibble::test::Random random(1);
  for (int i = 0; i < 500000; ++i) values.push_back(nibble::test::random_bits(random));
  return values;
}

}  // namespace

TEST_CASE("all float16 patterns have their value and come back", "[half]") {
  int failures = 0;
  for_all_patterns([&](std::uint16_t bits) {
    const Float16 half{bits};
    const float value = to_float(half);
    if ((bits & 0x7C00) != 0x7C00) {
      failures += static_cast<double>(value) != reference_value(half);
      failures += std::signbit(value) != ((bits & 0x8000) != 0);
    }
    if (is_nan(half)) {
      failures += !std::isnan(value) || !is_nan(to_float16(value));
      failures += (to_float16(value).bits | 0x200) != (bits | 0x200);  // the payload is kept
    } else {
      failures += to_float16(value) != half;
    }
  });
  CHECK(failures == 0);
  CHECK(to_float(Float16{0x7C00}) == std::numeric_limits<float>::infinity());
  CHECK(to_float(Float16{0xFC00}) == -std::numeric_limits<float>::infinity());
  CHECK(to_float(Float16{0x7BFF}) == nibble::float16_max);
}

TEST_CASE("all bfloat16 patterns are the upper half of a float and come back", "[half]") {
  int failures = 0;
  for_all_patterns([&](std::uint16_t bits) {
    const BFloat16 half{bits};
    const float value = to_float(half);
    failures += std::bit_cast<std::uint32_t>(value) != std::uint32_t{bits} << 16;
    if (is_nan(half)) {
      failures += !is_nan(to_bfloat16(value));
    } else {
      failures += to_bfloat16(value) != half;
    }
  });
  CHECK(failures == 0);
}

TEST_CASE("float16 rounds to nearest, ties to even", "[half]") {
  int failures = 0;
  for (const float value : adversarial_floats<Float16>()) {
    const Float16 half = to_float16(value);
    failures += std::isnan(value) ? !is_nan(half) : half.bits != reference_float16(value);
  }
  CHECK(failures == 0);
}

TEST_CASE("bfloat16 rounds to nearest, ties to even", "[half]") {
  int failures = 0;
  for (const float value : adversarial_floats<BFloat16>()) {
    const BFloat16 half = to_bfloat16(value);
    failures += std::isnan(value) ? !is_nan(half) : half.bits != reference_bfloat16(value);
  }
  CHECK(failures == 0);
}

TEST_CASE("the ends of float16", "[half]") {
  CHECK(to_float16(65504.0F).bits == 0x7BFF);
  CHECK(to_float16(std::nextafter(65520.0F, 0.0F)).bits == 0x7BFF);
  CHECK(to_float16(65520.0F).bits == 0x7C00);
  CHECK(to_float16(-65520.0F).bits == 0xFC00);
  CHECK(to_float16(std::numeric_limits<float>::max()).bits == 0x7C00);
  CHECK(to_float16(0x1p-24F).bits == 1);
  CHECK(to_float16(0x1p-25F).bits == 0);  // a tie, to even
  CHECK(to_float16(std::nextafter(0x1p-25F, 1.0F)).bits == 1);
  CHECK(to_float16(0x1.8p-24F).bits == 2);
  CHECK(to_float16(-0.0F).bits == 0x8000);
  CHECK(to_float16(std::numeric_limits<float>::denorm_min()).bits == 0);
}

TEST_CASE("NaN stays NaN whatever its payload", "[half]") {
  for (const std::uint32_t bits :
       {0x7F800001U, 0xFF800001U, 0x7FC00000U, 0x7FFFFFFFU, 0xFFBFFFFFU, 0x7F801000U}) {
    CAPTURE(bits);
    const auto nan = std::bit_cast<float>(bits);
    CHECK(is_nan(to_float16(nan)));
    CHECK(is_nan(to_bfloat16(nan)));
    CHECK(to_float16(nan).bits >> 15 == bits >> 31);
    CHECK(to_bfloat16(nan).bits >> 15 == bits >> 31);
  }
}

TEST_CASE("conversions work at compile time", "[half]") {
  STATIC_REQUIRE(to_float16(1.5F).bits == 0x3E00);
  STATIC_REQUIRE(to_float(Float16{0x3E00}) == 1.5F);
  STATIC_REQUIRE(to_float(Float16{0x0001}) == 0x1p-24F);
  STATIC_REQUIRE(to_bfloat16(1.5F).bits == 0x3FC0);
}

TEST_CASE("from_float rounds to the named type", "[half]") {
  CHECK(from_float<float>(1.1F) == 1.1F);
  CHECK(from_float<Float16>(1.1F) == to_float16(1.1F));
  CHECK(from_float<BFloat16>(1.1F) == to_bfloat16(1.1F));
  CHECK(to_float(2.5F) == 2.5F);
}

#if defined(__F16C__)
TEST_CASE("the CPU converts float16 alike", "[half]") {
  int failures = 0;
  for_all_patterns([&](std::uint16_t bits) {
    const auto ours = std::bit_cast<std::uint32_t>(to_float(Float16{bits}));
    const auto theirs = std::bit_cast<std::uint32_t>(_cvtsh_ss(bits));
    // The CPU makes a signalling NaN quiet.
    failures += is_nan(Float16{bits}) ? (ours | 0x400000) != theirs : ours != theirs;
  });
  CHECK(failures == 0);
  for (const float value : adversarial_floats<Float16>()) {
    const __m128i theirs = _mm_cvtps_ph(_mm_set_ss(value), _MM_FROUND_TO_NEAREST_INT);
    failures += to_float16(value).bits != static_cast<std::uint16_t>(_mm_cvtsi128_si32(theirs));
  }
  CHECK(failures == 0);
}
#endif
