// Arithmetic on sizes that come from files: products and sums that report overflow.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

namespace nibble {

/// Sizes and positions of rows, columns, tokens: signed, as Eigen's.
using Index = std::ptrdiff_t;

/// a * b, or nothing where the product does not fit T.
template <std::unsigned_integral T>
[[nodiscard]] constexpr std::optional<T> checked_multiply(T a, T b) noexcept {
  if (b != 0 && a > std::numeric_limits<T>::max() / b) return std::nullopt;
  return static_cast<T>(a * b);
}

/// a + b, or nothing where the sum does not fit T.
template <std::unsigned_integral T>
[[nodiscard]] constexpr std::optional<T> checked_add(T a, T b) noexcept {
  if (a > std::numeric_limits<T>::max() - b) return std::nullopt;
  return static_cast<T>(a + b);
}

/// The least multiple of `step` that is not below `value`; both are positive or zero.
template <std::integral T>
[[nodiscard]] constexpr T round_up(T value, T step) noexcept {
  return static_cast<T>((value + step - 1) / step * step);
}

/// value / step, rounded up.
template <std::integral T>
[[nodiscard]] constexpr T divide_up(T value, T step) noexcept {
  return static_cast<T>((value + step - 1) / step);
}

}  // namespace nibble
