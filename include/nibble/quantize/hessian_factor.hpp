// The triangular factor that GPTQ propagates errors with.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <optional>
#include <vector>

#include <Eigen/Cholesky>
#include <Eigen/Core>

#include <nibble/core/executor.hpp>

namespace nibble {

/// Of a damped Hessian whose inputs are in some order: H = L L^T, and M = L^-1, so that
/// H^-1 = M^T M. GPTQ takes the inputs from the last to the first: an error e at input k (in units
/// of M(k, k)) moves each input i < k by -e M(k, i).
struct HessianFactor {
  std::vector<Index> order;  // the input at each place; the last is quantized first
  Eigen::MatrixXd inverse;   // M, lower triangular
  double damping = 0;        // that was added to the diagonal
};

/// The order in which GPTQ takes the inputs, from the last to the first: those with the largest
/// diagonal first (act-order), or as they are.
[[nodiscard]] inline std::vector<Index> quantization_order(const Eigen::MatrixXd& hessian,
                                                           bool act_order) {
  std::vector<Index> order(static_cast<std::size_t>(hessian.rows()));
  std::iota(order.rbegin(), order.rend(), Index{0});
  if (act_order) {
    std::stable_sort(order.begin(), order.end(),
                     [&](Index a, Index b) { return hessian(a, a) < hessian(b, b); });
  }
  return order;
}

/// Factors a Hessian, [cols][cols], with `damping` (1e-6 or more) times its mean diagonal added;
/// where that is not positive definite, with ten times as much, and so on up to the whole mean.
/// Nothing where that is not enough, which takes entries that no sums of squares have.
[[nodiscard]] inline std::optional<HessianFactor> factor_hessian(const Eigen::MatrixXd& hessian,
                                                                 std::vector<Index> order,
                                                                 double damping, ExecutorRef pool) {
  const Index size = hessian.rows();
  const double mean = hessian.diagonal().mean();
  HessianFactor factor{std::move(order), {}, 0};
  for (double relative = std::max(damping, 1e-6), last = 0; last < 1;
       last = relative, relative = std::min(10 * relative, 1.0)) {
    // Inputs that were all zero leave no other way to scale the identity.
    factor.damping = mean > 0 ? relative * mean : 1;
    Eigen::MatrixXd lower(size, size);
    for (Index j = 0; j < size; ++j) {
      const Index col = factor.order[static_cast<std::size_t>(j)];
      for (Index i = j; i < size; ++i) {
        lower(i, j) = hessian(factor.order[static_cast<std::size_t>(i)], col);
      }
      lower(j, j) += factor.damping;
    }
    const Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> cholesky(lower);  // in place
    if (cholesky.info() != Eigen::Success || !lower.diagonal().allFinite()) continue;

    factor.inverse = Eigen::MatrixXd::Zero(size, size);
    constexpr Index block = 64;
    pool.run(divide_up(size, block), [&](Index task, int) {
      const Index first = task * block;
      const Index count = std::min(block, size - first);
      auto columns = factor.inverse.block(first, first, size - first, count);
      columns.diagonal().setOnes();
      lower.bottomRightCorner(size - first, size - first)
          .triangularView<Eigen::Lower>()
          .solveInPlace(columns);
    });
    return factor;
  }
  return std::nullopt;
}

}  // namespace nibble
