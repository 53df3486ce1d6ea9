// RandomRotation: a random orthogonal transform of any number of dimensions in D log D steps.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <nibble/core/checked.hpp>
#include <nibble/core/random.hpp>

namespace nibble {

namespace rotation_detail {

/// The Walsh-Hadamard transform in place, not scaled; the size is a power of two.
inline void hadamard(std::span<float> values) noexcept {
  for (std::size_t half = 1; half < values.size(); half *= 2) {
    for (std::size_t first = 0; first < values.size(); first += 2 * half) {
      float* low = values.data() + first;
      float* high = low + half;
      for (std::size_t i = 0; i < half; ++i) {
        const float sum = low[i] + high[i];
        high[i] = low[i] - high[i];
        low[i] = sum;
      }
    }
  }
}

}  // namespace rotation_detail

/// Rounds of random signs and Hadamard transforms. A transform covers a power of two, so where the
/// number of dimensions is none, each round transforms the first 2^k dimensions and then the last
/// 2^k, which overlap. Lengths and inner products stay as they are, up to rounding; any vector
/// comes out with its length spread over all dimensions, as after a rotation drawn uniformly.
/// Source: Andoni et al., "Practical and Optimal LSH for Angular Distance" (2015), section 4.
///
/// The same seed gives the same transform everywhere.
class RandomRotation {
 public:
  RandomRotation(Index dims, std::uint64_t seed)
      : size_(std::bit_floor(static_cast<std::size_t>(dims))) {
    const auto count = static_cast<std::size_t>(dims);
    Random random(seed);
    signs_.resize(rounds * count);
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < signs_.size(); ++i, bits >>= 1) {
      if (i % 64 == 0) bits = random.next();
      signs_[i] = (bits & 1U) != 0 ? 1.0F : -1.0F;
    }
  }

  [[nodiscard]] Index dims() const noexcept { return static_cast<Index>(signs_.size() / rounds); }

  /// Rotates a vector, [dims()], in place.
  void apply(std::span<float> vector) const noexcept {
    const std::size_t dims = vector.size();
    const bool overlaps = size_ < dims;
    const float scale = 1 / std::sqrt(static_cast<float>(size_));
    for (std::size_t round = 0; round < rounds; ++round) {
      const float* signs = signs_.data() + round * dims;
      for (std::size_t i = 0; i < dims; ++i) vector[i] *= signs[i];
      transform(vector.first(size_), scale);
      if (overlaps) transform(vector.last(size_), scale);
    }
  }

 private:
  static constexpr std::size_t rounds = 3;

  static void transform(std::span<float> values, float scale) noexcept {
    rotation_detail::hadamard(values);
    for (float& value : values) value *= scale;
  }

  std::size_t size_;          // 2^k, at most the number of dimensions
  std::vector<float> signs_;  // [rounds][dims], +1 or -1
};

}  // namespace nibble
