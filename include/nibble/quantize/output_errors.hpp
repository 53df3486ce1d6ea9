// What changes of weights do to the outputs of a Linear, from the Gram matrix of its inputs.
#pragma once

#include <Eigen/Core>

#include <nibble/core/checked.hpp>

namespace nibble {

/// Changes of weights, [rows][inputs], rows contiguous.
using WeightChanges = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// d H d^T of each row d of `changes`: the squared change of that row's output, summed over the
/// tokens that H = X^T X was summed over. Reads the lower half of `hessian`, [inputs][inputs].
[[nodiscard]] inline Eigen::VectorXd output_errors(
    const WeightChanges& changes, const Eigen::Ref<const Eigen::MatrixXd>& hessian) {
  // Of a symmetric matrix half the products do.
  const WeightChanges half = changes * hessian.triangularView<Eigen::StrictlyLower>();
  const Eigen::RowVectorXd diagonal = hessian.diagonal();
  Eigen::VectorXd errors(changes.rows());
  for (Index row = 0; row < changes.rows(); ++row) {
    const auto change = changes.row(row);
    errors[row] = change.dot(2 * half.row(row) + change.cwiseProduct(diagonal));
  }
  return errors;
}

}  // namespace nibble
