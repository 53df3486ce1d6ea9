// Random numbers for tests, the same ones in every run.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace nibble::test {

using Random = std::mt19937;

/// One of first..last, each as likely.
template <std::integral T>
[[nodiscard]] T random_integer(Random& random, T first, T last) {
  return static_cast<T>(std::uniform_int_distribution<std::int64_t>(
      static_cast<std::int64_t>(first), static_cast<std::int64_t>(last))(random));
}

/// Any of the 2^32 bit patterns, NaN and infinities among them.
[[nodiscard]] inline float random_bits(Random& random) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(random()));
}

/// Normally distributed.
[[nodiscard]] inline std::vector<float> random_floats(Random& random, std::ptrdiff_t count,
                                                      float deviation = 1.0F) {
  std::normal_distribution<float> distribution(0.0F, deviation);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = distribution(random);
  return values;
}

}  // namespace nibble::test
