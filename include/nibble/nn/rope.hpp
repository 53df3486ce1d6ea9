// Rotary position embedding: the frequencies of its kinds, and the angles of positions.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <vector>

#include <nibble/core/checked.hpp>
#include <nibble/core/half.hpp>

namespace nibble {

/// How the rotation frequencies theta^(-2i/head_dim) are changed.
enum class RopeKind : std::uint8_t {
  unscaled,  // "default"
  linear,    // all divided by `factor`
  llama3,    // the slow ones divided by `factor`, blended in between (Llama 3.1)
};

/// Rotary position embedding (Su et al., RoFormer), halves rotated against each other.
struct RopeConfig {
  RopeKind kind = RopeKind::unscaled;
  double theta = 10000;
  double factor = 1;  // linear, llama3
  // llama3 alone: wavelengths above original_max_positions / low_freq_factor are divided, below
  // original_max_positions / high_freq_factor kept.
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  Index original_max_positions = 0;
  // The frequencies rounded to bfloat16, as a PyTorch model has them that was cast to bfloat16
  // with its buffers. No file says so; it is for comparisons with results of such a model.
  bool bfloat16_frequencies = false;

  friend bool operator==(const RopeConfig&, const RopeConfig&) = default;
};

/// The rotation of one kind of head.
class Rope {
 public:
  /// `head_dim` is even.
  Rope(const RopeConfig& config, Index head_dim) {
    for (Index i = 0; i < head_dim; i += 2) {
      const double exponent = static_cast<double>(i) / static_cast<double>(head_dim);
      const auto frequency = static_cast<float>(scaled(config, std::pow(config.theta, -exponent)));
      frequencies_.push_back(config.bfloat16_frequencies ? to_float(to_bfloat16(frequency))
                                                         : frequency);
    }
  }

  /// Half a head's size: the number of angles at a position.
  [[nodiscard]] Index size() const noexcept { return static_cast<Index>(frequencies_.size()); }

  /// Writes the cosines and sines at a position, [size()] each. The angle is a float32 product, as
  /// in the implementations that models are trained with.
  void angles(Index position, float* cosines, float* sines) const noexcept {
    for (std::size_t i = 0; i < frequencies_.size(); ++i) {
      const double angle = static_cast<float>(position) * frequencies_[i];
      cosines[i] = static_cast<float>(std::cos(angle));
      sines[i] = static_cast<float>(std::sin(angle));
    }
  }

 private:
  [[nodiscard]] static double scaled(const RopeConfig& config, double frequency) noexcept {
    if (config.kind == RopeKind::unscaled) return frequency;
    if (config.kind == RopeKind::linear) return frequency / config.factor;
    const double wavelength = 2 * std::numbers::pi / frequency;
    const auto context = static_cast<double>(config.original_max_positions);
    if (wavelength < context / config.high_freq_factor) return frequency;
    if (wavelength > context / config.low_freq_factor) return frequency / config.factor;
    const double smooth = (context / wavelength - config.low_freq_factor) /
                          (config.high_freq_factor - config.low_freq_factor);
    return (1 - smooth) * frequency / config.factor + smooth * frequency;
  }

  std::vector<float> frequencies_;  // radians per position
};

}  // namespace nibble
