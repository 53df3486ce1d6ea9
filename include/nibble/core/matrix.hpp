// Float matrices at the API: Eigen types, rows contiguous, a row a token or an output.
#pragma once

#include <Eigen/Core>

#include <nibble/core/checked.hpp>

namespace nibble {

/// Owned float32 [rows][cols].
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Borrowed float32 [rows][cols], read only; rows may lie further apart than they are long.
using ConstMatrixView = Eigen::Ref<const Matrix, 0, Eigen::OuterStride<>>;

/// Borrowed float32 [rows][cols].
using MatrixView = Eigen::Ref<Matrix, 0, Eigen::OuterStride<>>;

/// Views `rows * cols` floats that lie one row after the other.
[[nodiscard]] inline Eigen::Map<const Matrix> view_matrix(const float* data, Index rows,
                                                          Index cols) {
  return {data, rows, cols};
}

}  // namespace nibble
