// Grids searched for the least error where large inputs count more.
//
// The idea of searching the range is that of the GPTQ authors' code (`mse`) and of AWQ's clip
// search; the weights are the diagonal of the Hessian.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <string_view>

#include <nibble/format/group_int.hpp>
#include <nibble/quantize/grids.hpp>

namespace nibble {

/// Finds the grid of one group with the least sum of importance * (weight - quantized weight)^2.
template <int Bits>
class GridSearch {
 public:
  /// `importance` has a positive number for each weight, [weights.size()].
  GridSearch(std::span<const float> weights, std::span<const float> importance)
      : weights_(weights), importance_(importance) {}

  /// From the min-max grid, its range times 0.5 to 1.05; symmetric ones also with the largest
  /// weight on the lowest code, of which there is none at the other end (the scale may then be
  /// negative). Each candidate's scale is fitted once to the codes that it leads to. Throws as
  /// min_max_grid.
  [[nodiscard]] GroupGrid best(bool asymmetric, std::string_view tensor) {
    const GroupGrid start = min_max_grid(weights_, Bits, asymmetric, tensor);
    best_ = start;
    least_ = error(start);
    constexpr int candidates = 45;
    const float scale = to_float(start.scale);
    for (int i = 0; i < candidates; ++i) {
      const float factor = 0.5F + 0.55F * static_cast<float>(i) / (candidates - 1);
      consider(factor * scale, start.zero);
    }
    if (!asymmetric) {
      const float largest =
          *std::max_element(weights_.begin(), weights_.end(),
                            [](float a, float b) { return std::abs(a) < std::abs(b); });
      for (int shift = -9; shift <= 9; ++shift) {
        consider(-largest / (static_cast<float>(start.zero) + static_cast<float>(shift) / 10),
                 start.zero);
      }
    }
    return best_;
  }

 private:
  [[nodiscard]] static GroupGrid grid(float scale, std::uint8_t zero) noexcept {
    const Float16 stored = to_float16(scale);
    return {stored, zero, to_float(stored)};
  }

  /// Tries a scale and the one that fits its codes best.
  void consider(float scale, std::uint8_t zero) {
    const GroupGrid first = grid(scale, zero);
    double product = 0;
    double square = 0;
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      const double level = nearest_code(weights_[i], first.step, zero, Bits) - zero;
      product += importance_[i] * level * weights_[i];
      square += importance_[i] * level * level;
    }
    keep_if_better(first);
    if (square > 0) keep_if_better(grid(static_cast<float>(product / square), zero));
  }

  void keep_if_better(const GroupGrid& candidate) {
    if (candidate.step == 0 || !std::isfinite(candidate.step)) return;
    const double found = error(candidate);
    if (found < least_) {
      least_ = found;
      best_ = candidate;
    }
  }

  [[nodiscard]] double error(const GroupGrid& candidate) const noexcept {
    const float scale = to_float(candidate.scale);
    double sum = 0;
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      const int level =
          nearest_code(weights_[i], candidate.step, candidate.zero, Bits) - candidate.zero;
      const double difference = double{weights_[i]} - scale * static_cast<float>(level);
      sum += importance_[i] * difference * difference;
    }
    return sum;
  }

  std::span<const float> weights_;
  std::span<const float> importance_;
  GroupGrid best_;
  double least_ = std::numeric_limits<double>::infinity();
};

}  // namespace nibble
