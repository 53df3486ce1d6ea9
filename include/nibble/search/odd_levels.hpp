// Codes of 1 to 8 bits for the components of one vector: odd integers times a step, chosen so that
// the angle between vector and code is as small as it gets.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <Eigen/Core>

#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/search/sign_codes.hpp>

namespace nibble {

/// Bits of a code's component.
inline constexpr int max_code_bits = 8;

/// Bytes of a code, // [bits][sign_bytes(dims)], the most significant bits first.
[[nodiscard]] constexpr Index code_bytes(Index dims, int bits) noexcept {
  return bits * sign_bytes(dims);
}

/// Throws Error, naming what the codes are of, for bits not in 1..max_code_bits.
inline void check_code_bits(const char* what, int bits) {
  if (bits < 1 || bits > max_code_bits) {
    fail(what, ": codes of ", bits, " bits, expected 1 to ", max_code_bits);
  }
}

/// The inner product of two codes of these widths whose distance is 0, the most that there is.
[[nodiscard]] constexpr std::int32_t largest_code_product(Index dims, int bits_a,
                                                          int bits_b) noexcept {
  return static_cast<std::int32_t>(dims * ((1 << bits_a) - 1) * ((1 << bits_b) - 1));
}

namespace odd_levels_detail {

/// Inner product and squared length that say how good a step is.
struct Fit {
  float product = 0;       // of the code with the magnitudes
  float squared_norm = 1;  // of the code
  float inverse_step = 0;

  /// By the cosine of the angle between the two.
  friend bool operator<(const Fit& a, const Fit& b) noexcept {
    return a.product * a.product * b.squared_norm < b.product * b.product * a.squared_norm;
  }
};

/// The fit of the levels 1, 3, 5, ... up to 2 * top + 1, each for an interval of a step.
[[nodiscard]] inline Fit fit(const Eigen::ArrayXf& magnitudes, float inverse_step, float top,
                             Eigen::ArrayXf& levels) {
  levels = (magnitudes * inverse_step).floor().min(top) * 2.0F + 1.0F;
  return {(levels * magnitudes).sum(), levels.square().sum(), inverse_step};
}

/// Writes integers of `bits`, padded by zeros to a multiple of eight, as planes of bits.
inline void pack_planes(std::span<const std::uint8_t> integers, int bits,
                        std::uint8_t* code) noexcept {
  for (int j = bits - 1; j >= 0; --j) {
    for (std::size_t i = 0; i < integers.size(); i += 8) {
      std::uint64_t bytes = 0;
      for (std::size_t k = 0; k < 8; ++k) bytes = (bytes << 8) | integers[i + k];
      // The product moves the lowest bit of byte k to bit 56 + k.
      const std::uint64_t lowest = (bytes >> j) & 0x0101010101010101ULL;
      *code++ = static_cast<std::uint8_t>((lowest * 0x0102040810204080ULL) >> 56);
    }
  }
}

/// The step, in deviations, of the uniform quantizer of 2^bits levels that is best for normally
/// distributed numbers. Source: Max, "Quantizing for Minimum Distortion" (1960), table II.
inline constexpr std::array<float, 8> gaussian_steps{1.596F,  0.9957F, 0.5860F, 0.3352F,
                                                     0.1881F, 0.1041F, 0.0569F, 0.0308F};

}  // namespace odd_levels_detail

/// Scratch memory of `encode_odd_levels`, to be used again.
struct OddLevelScratch {
  Eigen::ArrayXf magnitudes, levels;
  std::vector<std::uint8_t> integers;
};

/// How the step of a code is chosen.
enum class StepChoice : bool {
  Best,      // of some dozens, for the smallest angle
  Gaussian,  // that of normally distributed components, as rotated vectors have: in one go
};

/// Writes the code of a finite vector to code[code_bytes(size, bits)], and returns its inner
/// product with the vector, 0 only for a zero vector. Component i of the code stands for the odd
/// integer sum_j 2^(bits - 1 - j) s_ij, with s_ij = +1 or -1 by its bit in plane j; its sign is
/// that of the vector's component (-1 for 0), so plane 0 is `pack_signs`. For the best step, those
/// from the largest magnitude down are tried, the best one's neighbourhood more finely. Source: Gao
/// et al., "Practical and Asymptotically Optimal Quantization of High-Dimensional Vectors in
/// Euclidean Space for Approximate Nearest Neighbor Search" (2024), section 3, which finds the best
/// step exactly.
[[nodiscard]] inline float encode_odd_levels(std::span<const float> vector, int bits,
                                             std::uint8_t* code, OddLevelScratch& scratch,
                                             StepChoice choice = StepChoice::Best) {
  using odd_levels_detail::Fit;
  using odd_levels_detail::fit;
  const auto dims = static_cast<Index>(vector.size());
  const auto half = static_cast<float>(1 << (bits - 1));
  scratch.magnitudes = Eigen::Map<const Eigen::ArrayXf>(vector.data(), dims).abs();
  const float largest = dims == 0 ? 0.0F : scratch.magnitudes.maxCoeff();
  Fit best{0, 1, 0};
  if (bits == 1 || !(largest > 0)) {
    best = fit(scratch.magnitudes, 0, 0, scratch.levels);
  } else if (choice == StepChoice::Gaussian) {
    const float deviation = std::sqrt((scratch.magnitudes / largest).square().mean()) * largest;
    const float step =
        deviation * odd_levels_detail::gaussian_steps[static_cast<std::size_t>(bits - 1)];
    best = fit(scratch.magnitudes, 1 / step, half - 1, scratch.levels);
  } else {
    constexpr float coarse = 1.09F, fine = 1.015F;
    const auto try_step = [&](float inverse_step) {
      best = std::max(best, fit(scratch.magnitudes, inverse_step, half - 1, scratch.levels));
    };
    float inverse = half / largest;  // nothing is cut off
    for (int i = 0; i < 24; ++i, inverse *= coarse) try_step(inverse);
    inverse = best.inverse_step / (fine * fine * fine * fine * fine);
    for (int i = 0; i < 11; ++i, inverse *= fine) try_step(inverse);
    best = fit(scratch.magnitudes, best.inverse_step, half - 1, scratch.levels);
  }

  scratch.integers.assign(static_cast<std::size_t>(8 * sign_bytes(dims)), 0);
  const int largest_code = (1 << bits) - 1;
  for (Index i = 0; i < dims; ++i) {
    const auto level = static_cast<int>(scratch.levels[i]);  // odd
    const bool positive = vector[static_cast<std::size_t>(i)] > 0;
    scratch.integers[static_cast<std::size_t>(i)] =
        static_cast<std::uint8_t>(((positive ? level : -level) + largest_code) / 2);
  }
  odd_levels_detail::pack_planes(scratch.integers, bits, code);
  return best.product;
}

}  // namespace nibble
