// The min-max grids of round-to-nearest, and the code that a weight gets on a grid.
//
// Source of the group grids: Frantar et al., "GPTQ" (2022), the `Quantizer` of the authors' code,
// with scales that are stored in float16.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string_view>

#include <nibble/core/error.hpp>
#include <nibble/core/half.hpp>

namespace nibble {

/// Scale and zero point of one group: weight = scale * (code - zero).
struct GroupGrid {
  Float16 scale;
  std::uint8_t zero = 0;
  /// What a weight is divided by to get its code. Asymmetric: the scale, so that the code is the
  /// nearest with what is stored. Symmetric: the scale before it was rounded to float16. There
  /// -max|w| lies halfway between codes 0 and 1, in every group, and this step has the tie fall as
  /// in the authors' code; the rounded scale would not. 0 where the scale rounds to 0.
  float step = 0;
};

/// The grid that spans the group's range and 0. Symmetric: range 2 max|w|, zero 2^(bits-1).
/// Asymmetric: range max - min, zero nearest to -min / scale. An all-zero group gets the range
/// [-1, 1]. Throws Error, naming the tensor, for a scale above float16's largest.
[[nodiscard]] inline GroupGrid min_max_grid(std::span<const float> weights, int bits,
                                            bool asymmetric, std::string_view tensor) {
  const auto max_code = static_cast<float>((1 << bits) - 1);
  float low = 0;
  float high = 0;
  for (const float weight : weights) {
    low = std::min(low, weight);
    high = std::max(high, weight);
  }
  if (!asymmetric) {
    high = std::max(-low, high);
    low = -high;
  }
  if (low == 0 && high == 0) {
    low = -1;
    high = 1;
  }
  // The halves keep the difference of two large floats finite.
  const float range = high / max_code - low / max_code;
  if (!(range <= float16_max)) {
    fail("tensor '", tensor, "': a group's scale is ", range, ", beyond float16's largest, ",
         float16_max);
  }
  const float step = (high - low) / max_code;
  const Float16 scale = to_float16(step);
  const float rounded = to_float(scale);
  if (!asymmetric) {
    return {scale, static_cast<std::uint8_t>(1 << (bits - 1)), rounded == 0 ? 0.0F : step};
  }
  if (rounded == 0) return {scale, 0, 0};
  const float zero = std::clamp(std::nearbyint(-low / rounded), 0.0F, max_code);
  return {scale, static_cast<std::uint8_t>(zero), rounded};
}

/// The code nearest to a weight on a grid of that step (ties to even), within 0..2^bits - 1; the
/// zero point where the step is 0.
[[nodiscard]] inline std::uint8_t nearest_code(float weight, float step, int zero,
                                               int bits) noexcept {
  if (step == 0) return static_cast<std::uint8_t>(zero);
  const float level = std::nearbyint(weight / step) + static_cast<float>(zero);
  return static_cast<std::uint8_t>(std::clamp(level, 0.0F, static_cast<float>((1 << bits) - 1)));
}

/// Smallest and largest weight of a row, group or tensor.
struct Range {
  float minimum = 0;
  float maximum = 0;
};

/// Throws Error, naming the tensor, where the range itself is beyond float32.
[[nodiscard]] inline Range weight_range(std::span<const float> weights, std::string_view tensor) {
  Range range{weights.front(), weights.front()};
  for (const float weight : weights) {
    range.minimum = std::min(range.minimum, weight);
    range.maximum = std::max(range.maximum, weight);
  }
  if (!std::isfinite(range.maximum - range.minimum)) {
    fail("tensor '", tensor, "': its range, ", range.minimum, " to ", range.maximum,
         ", is beyond float32");
  }
  return range;
}

/// The zero-one code of a weight: nearest of 256 levels from minimum to maximum, in double;
/// 0 where they are equal.
[[nodiscard]] inline std::uint8_t zero_one_code(float weight, const Range& range) noexcept {
  const double width = static_cast<double>(range.maximum) - range.minimum;
  if (width == 0) return 0;
  const double level = (static_cast<double>(weight) - range.minimum) * 255.0 / width;
  return static_cast<std::uint8_t>(std::clamp(std::nearbyint(level), 0.0, 255.0));
}

}  // namespace nibble
