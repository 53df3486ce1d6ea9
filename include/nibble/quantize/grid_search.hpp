// Grids searched for the least error where large inputs count more.
//
// The idea of searching the range is that of the GPTQ authors' code (`mse`) and of AWQ's clip
// search; the weights are the diagonal of the Hessian.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <string_view>

#include <Eigen/Core>

#include <nibble/format/group_int.hpp>
#include <nibble/quantize/grids.hpp>

namespace nibble {

/// Finds the grid of one group with the least sum of importance * (weight - quantized weight)^2.
template <int Bits>
class GridSearch {
 public:
  /// `importance` has a positive number for each weight, [weights.size()]. Borrows both.
  GridSearch(std::span<const float> weights, std::span<const float> importance)
      : group_(weights),
        weights_(weights.data(), static_cast<Index>(weights.size())),
        importance_(importance.data(), static_cast<Index>(importance.size())),
        levels_(weights_.size()) {}

  /// From the min-max grid, its range times 0.5 to 1.05. Asymmetric grids are also tried with the
  /// zero points beside; symmetric ones with the largest weight on the lowest code, of which there
  /// is none at the other end (the scale may then be negative). Each candidate's scale is fitted
  /// once to the codes that it leads to. Throws as min_max_grid.
  [[nodiscard]] GroupGrid best(bool asymmetric, std::string_view tensor) {
    const GroupGrid start = min_max_grid(group_, Bits, asymmetric, tensor);
    best_ = start;
    if (start.step == 0) return start;
    find_levels(start);
    least_ = error(start);
    constexpr int candidates = 45;
    const float scale = to_float(start.scale);
    for (int i = 0; i < candidates; ++i) {
      const float factor = 0.5F + 0.55F * static_cast<float>(i) / (candidates - 1);
      for (int shift = asymmetric ? -1 : 0; shift <= (asymmetric ? 1 : 0); ++shift) {
        consider(factor * scale, start.zero + shift);
      }
    }
    if (!asymmetric) {
      Index place = 0;
      weights_.abs().maxCoeff(&place);
      for (int shift = -9; shift <= 9; ++shift) {
        const float levels = static_cast<float>(start.zero) + static_cast<float>(shift) / 10;
        consider(-weights_[place] / levels, start.zero);
      }
    }
    return best_;
  }

 private:
  static constexpr int max_code = (1 << Bits) - 1;

  /// Tries a scale and the one that fits its codes best.
  void consider(float scale, int zero) {
    if (zero < 0 || zero > max_code) return;
    const GroupGrid first = grid(scale, zero);
    if (!usable(first)) return;
    find_levels(first);
    const float square = (importance_ * levels_.square()).sum();
    const float product = (importance_ * levels_ * weights_).sum();
    keep_if_better(first);
    if (!(square > 0)) return;
    const GroupGrid second = grid(product / square, zero);
    if (!usable(second)) return;
    find_levels(second);
    keep_if_better(second);
  }

  [[nodiscard]] static GroupGrid grid(float scale, int zero) noexcept {
    const Float16 stored = to_float16(scale);
    return {stored, static_cast<std::uint8_t>(zero), to_float(stored)};
  }
  [[nodiscard]] static bool usable(const GroupGrid& candidate) noexcept {
    return candidate.step != 0 && std::isfinite(candidate.step);
  }

  /// nearest_code - zero of each weight, in a form that compilers vectorize: adding 1.5 * 2^23 and
  /// taking it away rounds what is between the ends to the nearest integer, ties to even.
  void find_levels(const GroupGrid& candidate) noexcept {
    constexpr float magic = 12582912.0F;
    const auto low = static_cast<float>(-candidate.zero);
    levels_ = (weights_ / candidate.step).max(low).min(low + static_cast<float>(max_code)) + magic;
    levels_ -= magic;
  }

  void keep_if_better(const GroupGrid& candidate) noexcept {
    const float found = error(candidate);
    if (found < least_) {
      least_ = found;
      best_ = candidate;
    }
  }

  /// Of the levels that were found for the candidate.
  [[nodiscard]] float error(const GroupGrid& candidate) const noexcept {
    return (importance_ * (weights_ - to_float(candidate.scale) * levels_).square()).sum();
  }

  std::span<const float> group_;
  Eigen::Map<const Eigen::ArrayXf> weights_;
  Eigen::Map<const Eigen::ArrayXf> importance_;
  Eigen::ArrayXf levels_;
  GroupGrid best_;
  float least_ = 0;
};

}  // namespace nibble
