// Grids that leave out the ends of a group's range, where that lessens the error of the outputs.
//
// Source: the clip search of AWQ (Lin et al., 2023). Errors are worked out from Gram matrices
// instead of on sampled inputs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <Eigen/Core>

#include <nibble/core/matrix.hpp>
#include <nibble/quantize/grid_format.hpp>
#include <nibble/quantize/output_errors.hpp>

namespace nibble {

/// For each group of some rows of weights, [rows][cols], the min-max grid of the group clipped to
/// 1, 0.95, ... 0.5 times its largest |weight|, with the least d H d^T, where d is the change of
/// the group's weights and H the group's part of `hessian`, [cols][cols]: [rows][groups]. Throws
/// Error, naming the tensor, for weights that the format cannot hold.
template <GridFormat F>
[[nodiscard]] std::vector<std::vector<typename GridOf<F>::Grid>> search_clips(
    const Matrix& weights, const F& format, const Eigen::MatrixXd& hessian,
    std::string_view tensor) {
  using Grid = typename GridOf<F>::Grid;
  constexpr int steps = 20;
  constexpr int trials = 11;
  const PanelLayout layout = format.layout(weights.cols());
  const Index rows = weights.rows();
  std::vector<std::vector<Grid>> best(static_cast<std::size_t>(rows));
  std::vector<Grid> grids;
  std::vector<float> clipped;
  for (Index group = 0; group < layout.groups; ++group) {
    const Index first = group * layout.group_size;
    const Index size = std::min(layout.group_size, weights.cols() - first);
    WeightChanges changes(rows * trials, size);
    grids.clear();
    for (Index row = 0; row < rows; ++row) {
      const std::span<const float> all(weights.row(row).data() + first,
                                       static_cast<std::size_t>(size));
      float largest = 0;
      for (const float weight : all) largest = std::max(largest, std::abs(weight));
      for (int trial = 0; trial < trials; ++trial) {
        const float end = largest * static_cast<float>(steps - trial) / steps;
        clipped.assign(all.begin(), all.end());
        for (float& weight : clipped) weight = std::clamp(weight, -end, end);
        grids.push_back(GridOf<F>::make(format, clipped, tensor));
        auto change = changes.row(row * trials + trial);
        for (Index i = 0; i < size; ++i) {
          const float weight = all[static_cast<std::size_t>(i)];
          const Grid& grid = grids.back();
          change[i] =
              static_cast<double>(GridOf<F>::value(grid, GridOf<F>::code(grid, weight))) - weight;
        }
      }
    }
    const Eigen::VectorXd errors = output_errors(changes, hessian.block(first, first, size, size));
    for (Index row = 0; row < rows; ++row) {
      Index least = 0;
      errors.segment(row * trials, trials).minCoeff(&least);
      best[static_cast<std::size_t>(row)].push_back(
          grids[static_cast<std::size_t>(row * trials + least)]);
    }
  }
  return best;
}

}  // namespace nibble
