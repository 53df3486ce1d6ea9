// Weights that make up for what quantizing the layers before did to the inputs.
//
// Source: the idea of GPTAQ (Li et al., 2025) and Qronos (Zhang et al., 2025), as the least-squares
// solution for the whole matrix.
#pragma once

#include <cstddef>

#include <Eigen/Core>

#include <nibble/quantize/hessian_factor.hpp>
#include <nibble/quantize/row_tile.hpp>

namespace nibble {

/// Adds to some rows of weights what reproduces the float model's outputs W X best from the inputs
/// X' that the rows will get: strength * W (C - H)^T (H + damping)^-1, with H = X'^T X' and
/// C = X'^T X. `drift` is C - H, [cols][cols]; `factor` is of H.
inline void correct_for_inputs(RowTile& weights, const Eigen::MatrixXd& drift,
                               const HessianFactor& factor, double strength,
                               const KernelTable& kernels = nibble::kernels<>()) {
  const RowTile step =
      solve(factor, permute(times_transpose(weights, drift, kernels), factor.order), kernels);
  for (std::size_t s = 0; s < weights.size(); ++s) {
    for (std::size_t place = 0; place < factor.order.size(); ++place) {
      weights[s].col(factor.order[place]) += strength * step[s].col(static_cast<Index>(place));
    }
  }
}

}  // namespace nibble
