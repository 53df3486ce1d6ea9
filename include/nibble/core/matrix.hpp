// Float matrices at the API: Eigen types, rows contiguous, a row a token or an output.
#pragma once

#include <Eigen/Core>

#include <nibble/core/checked.hpp>

namespace nibble {

/// Owned float32 [rows][cols].
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Views `rows * cols` floats that lie one row after the other.
[[nodiscard]] inline Eigen::Map<const Matrix> view_matrix(const float* data, Index rows,
                                                          Index cols) {
  return {data, rows, cols};
}

}  // namespace nibble
