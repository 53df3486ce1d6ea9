// The two 16-bit float types as stored: IEEE 754 binary16 and bfloat16, with their conversions.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>

namespace nibble {

static_assert(std::endian::native == std::endian::little,
              "nibble's files and packed layouts are little-endian and are mapped as they are");

/// IEEE 754 binary16 by its bits: 1 sign, 5 exponent, 10 mantissa.
struct Float16 {
  std::uint16_t bits = 0;
  friend bool operator==(Float16, Float16) = default;  // of the bits: -0 != 0, NaN == NaN
};

/// The upper half of a binary32 by its bits: 1 sign, 8 exponent, 7 mantissa.
struct BFloat16 {
  std::uint16_t bits = 0;
  friend bool operator==(BFloat16, BFloat16) = default;
};

/// The largest finite Float16.
inline constexpr float float16_max = 65504.0F;

/// Neither infinite nor NaN.
[[nodiscard]] constexpr bool is_finite(Float16 value) noexcept {
  return (value.bits & 0x7C00U) != 0x7C00U;
}

/// Exact; subnormals, infinities and NaN payloads are kept.
[[nodiscard]] constexpr float to_float(Float16 value) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(value.bits & 0x8000U) << 16;
  const std::uint32_t magnitude = value.bits & 0x7FFFU;
  if (magnitude >= 0x7C00U) {
    return std::bit_cast<float>(sign | 0x7F800000U | ((magnitude & 0x3FFU) << 13));
  }
  // Read as a float, the shifted bits are 2^-112 times too small; the product is exact.
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112F;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(scaled) | sign);
}

/// Exact.
[[nodiscard]] constexpr float to_float(BFloat16 value) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(value.bits) << 16);
}

[[nodiscard]] constexpr float to_float(float value) noexcept {
  return value;
}

/// Rounds to nearest, ties to even; beyond 65519.99 it is infinite, NaN stays NaN (quiet).
[[nodiscard]] constexpr Float16 to_float16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  const auto with_sign = [sign](std::uint32_t half) {
    return Float16{static_cast<std::uint16_t>(sign | half)};
  };
  if (magnitude > 0x7F800000U) return with_sign(0x7E00U | ((magnitude >> 13) & 0x3FFU));
  if (magnitude >= 0x477FF000U) return with_sign(0x7C00U);  // 65520 and above
  if (magnitude < 0x38800000U) {
    // Below 2^-14: adding 2^-1 moves the bits of a subnormal half to the end of the mantissa and
    // lets the addition round them.
    const float sum = std::bit_cast<float>(magnitude) + 0.5F;
    return with_sign(std::bit_cast<std::uint32_t>(sum) - 0x3F000000U);
  }
  const std::uint32_t odd = (magnitude >> 13) & 1U;
  return with_sign((magnitude - 0x38000000U + 0xFFFU + odd) >> 13);
}

/// Rounds to nearest, ties to even; NaN stays NaN (quiet).
[[nodiscard]] constexpr BFloat16 to_bfloat16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) {
    return BFloat16{static_cast<std::uint16_t>((bits >> 16) | 0x40U)};
  }
  const std::uint32_t odd = (bits >> 16) & 1U;
  return BFloat16{static_cast<std::uint16_t>((bits + 0x7FFFU + odd) >> 16)};
}

/// The types that weights and cached keys and values are stored as.
template <class T>
concept FloatElement =
    std::same_as<T, float> || std::same_as<T, Float16> || std::same_as<T, BFloat16>;

/// A float rounded to T.
template <FloatElement T>
[[nodiscard]] constexpr T from_float(float value) noexcept;
template <>
[[nodiscard]] constexpr float from_float<float>(float value) noexcept {
  return value;
}
template <>
[[nodiscard]] constexpr Float16 from_float<Float16>(float value) noexcept {
  return to_float16(value);
}
template <>
[[nodiscard]] constexpr BFloat16 from_float<BFloat16>(float value) noexcept {
  return to_bfloat16(value);
}

}  // namespace nibble
