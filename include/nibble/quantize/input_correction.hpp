// Weights that make up for what quantizing the layers before did to the inputs.
//
// Source: the idea of GPTAQ (Li et al., 2025) and Qronos (Zhang et al., 2025), as the least-squares
// solution for the whole matrix.
#pragma once

#include <cstddef>

#include <Eigen/Core>

#include <nibble/quantize/hessian_factor.hpp>
#include <nibble/quantize/input_statistics.hpp>

namespace nibble {

/// Adds to some rows of weights, [rows][cols], what reproduces the float model's outputs W X best
/// from the inputs X' that the rows will get: strength * W (C - H)^T (H + damping)^-1, with
/// H = X'^T X' and C = X'^T X. `factor` is of H.
inline void correct_for_inputs(Eigen::MatrixXd& weights, const InputStatistics& statistics,
                               const HessianFactor& factor, double strength) {
  const Eigen::MatrixXd drift =
      weights * statistics.cross.transpose() - weights * statistics.hessian;
  Eigen::MatrixXd step(weights.rows(), weights.cols());  // in the factor's order
  for (Index place = 0; place < step.cols(); ++place) {
    step.col(place) = drift.col(factor.order[static_cast<std::size_t>(place)]);
  }
  step = step * factor.inverse.transpose().triangularView<Eigen::Upper>();
  step = step * factor.inverse.triangularView<Eigen::Lower>();
  for (Index place = 0; place < step.cols(); ++place) {
    weights.col(factor.order[static_cast<std::size_t>(place)]) += strength * step.col(place);
  }
}

}  // namespace nibble
