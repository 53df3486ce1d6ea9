// The triangular factor that GPTQ propagates errors with.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include <Eigen/Cholesky>
#include <Eigen/Core>

#include <nibble/core/executor.hpp>
#include <nibble/quantize/row_tile.hpp>

namespace nibble {

/// Of a damped Hessian whose inputs are in some order: H = L L^T, and M = L^-1, so that
/// H^-1 = M^T M. GPTQ takes the inputs from the last to the first: an error e at input k (in units
/// of M(k, k)) moves each input i < k by -e M(k, i).
struct HessianFactor {
  std::vector<Index> order;     // the input at each place; the last is quantized first
  Eigen::MatrixXd halves;       // L below the diagonal, M^T on and above it: read column by column
  double damping = 0;           // that was added to the diagonal
  double relative_damping = 0;  // the same over the diagonal's mean
};

/// Places whose products are taken together.
inline constexpr Index factor_block = 32;

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

namespace hessian_factor_detail {

/// Replaces the lower half of a symmetric matrix by L, some columns at a time, each from those
/// before; false where it is not positive definite.
[[nodiscard]] inline bool factor_in_place(Eigen::MatrixXd& matrix, ExecutorRef pool,
                                          const KernelTable& kernels) {
  constexpr Index step = 64;
  constexpr Index task_rows = 128;
  const Index size = matrix.rows();
  for (Index first = 0; first < size; first += step) {
    const Index width = std::min(step, size - first);
    RowTile done = zero_tile(width, first);  // minus what the columns before have in these rows
    for (std::size_t s = 0; s < done.size(); ++s) {
      const Index rows = rows_in(s, width);
      done[s].topRows(rows) =
          -matrix.block(first + static_cast<Index>(s) * panel_rows, 0, rows, first);
    }
    pool.run(divide_up(size - first, task_rows), [&](Index task, int) {
      const Index row = first + task * task_rows;
      const Index count = std::min(task_rows, size - row);
      RowTile sums = zero_tile(width, count);
      const auto columns = [&](std::size_t s) {
        return matrix.block(row, first + static_cast<Index>(s) * panel_rows, count,
                            rows_in(s, width));
      };
      for (std::size_t s = 0; s < sums.size(); ++s) {
        sums[s].topRows(rows_in(s, width)) = columns(s).transpose();
      }
      for (Index k = 0; k < first; k += step) {
        for (std::size_t s = 0; s < sums.size(); ++s) {
          add_product(done[s].col(k).data(), matrix.block(row, k, count, step), sums[s].data(),
                      kernels);
        }
      }
      for (std::size_t s = 0; s < sums.size(); ++s) {
        columns(s) = sums[s].topRows(rows_in(s, width)).transpose();
      }
    });
    Eigen::Ref<Eigen::MatrixXd> diagonal = matrix.block(first, first, width, width);
    const Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> cholesky(diagonal);  // in place
    if (cholesky.info() != Eigen::Success || !diagonal.diagonal().allFinite()) return false;
    const Index below = first + width;
    pool.run(divide_up(size - below, task_rows), [&](Index task, int) {
      const Index row = below + task * task_rows;
      auto part = matrix.block(row, first, std::min(task_rows, size - row), width);
      diagonal.triangularView<Eigen::Lower>().transpose().solveInPlace<Eigen::OnTheRight>(part);
    });
  }
  return true;
}

/// Solves L y = x for each row x of a tile, in place. `halves` has L below the diagonal and on it
/// the inverse of L's. The tile has the places from `first` on; x is zero before them.
inline void solve_lower(const Eigen::MatrixXd& halves, Index first, RowTile& tile,
                        const KernelTable& kernels) {
  const Index size = halves.rows();
  RowStrip minus(panel_rows, factor_block);
  for (Index begin = first; begin < size; begin += factor_block) {
    const Index end = std::min(begin + factor_block, size);
    for (RowStrip& strip : tile) {
      for (Index k = begin; k < end; ++k) {
        strip.col(k - first) *= halves(k, k);
        minus.col(k - begin) = -strip.col(k - first);
        add_product(minus.col(k - begin).data(), halves.block(k + 1, k, end - k - 1, 1),
                    strip.data() + (k + 1 - first) * panel_rows, kernels);
      }
      add_product(minus.data(), halves.block(end, begin, size - end, end - begin),
                  strip.data() + (end - first) * panel_rows, kernels);
    }
  }
}

/// Puts M^T in the place of L's diagonal and what is above it.
inline void invert_in_place(Eigen::MatrixXd& halves, ExecutorRef pool, const KernelTable& kernels) {
  const Index size = halves.rows();
  halves.diagonal() = halves.diagonal().cwiseInverse().eval();
  pool.run(divide_up(size, tile_rows), [&](Index task, int) {
    const Index first = task * tile_rows;
    const Index rows = std::min(tile_rows, size - first);
    RowTile tile = zero_tile(rows, size - first);  // columns of M, as far as they are not zero
    for (Index row = 0; row < rows; ++row) {
      tile[static_cast<std::size_t>(row / panel_rows)](row % panel_rows, row) = 1;
    }
    solve_lower(halves, first, tile, kernels);
    for (std::size_t s = 0; s < tile.size(); ++s) {
      const Index row = static_cast<Index>(s) * panel_rows;
      for (Index place = row + 1; place < size - first; ++place) {
        const Index above = std::min(rows_in(s, rows), place - row);
        halves.col(first + place).segment(first + row, above) = tile[s].col(place).head(above);
      }
    }
  });
}

}  // namespace hessian_factor_detail

/// Factors a Hessian, [cols][cols], with `damping` (1e-6 or more) times its mean diagonal added;
/// where that is not positive definite, with ten times as much, and so on up to the whole mean.
/// Nothing where that is not enough, which takes entries that no sums of squares have.
[[nodiscard]] inline std::optional<HessianFactor> factor_hessian(
    const Eigen::MatrixXd& hessian, std::vector<Index> order, double damping, ExecutorRef pool,
    const KernelTable& kernels = nibble::kernels<>()) {
  const Index size = hessian.rows();
  const double mean = hessian.diagonal().mean();
  HessianFactor factor;
  factor.order = std::move(order);
  for (double relative = std::max(damping, 1e-6), last = 0; last < 1;
       last = relative, relative = std::min(10 * relative, 1.0)) {
    // Inputs that were all zero leave no other way to scale the identity.
    factor.damping = mean > 0 ? relative * mean : 1;
    factor.relative_damping = relative;
    factor.halves.resize(size, size);
    pool.run(size, [&](Index place, int) {
      const double* column = hessian.col(factor.order[static_cast<std::size_t>(place)]).data();
      for (Index i = 0; i < size; ++i) {
        factor.halves(i, place) = column[factor.order[static_cast<std::size_t>(i)]];
      }
      factor.halves(place, place) += factor.damping;
    });
    if (!hessian_factor_detail::factor_in_place(factor.halves, pool, kernels)) continue;
    hessian_factor_detail::invert_in_place(factor.halves, pool, kernels);
    return factor;
  }
  return std::nullopt;
}

/// tile * (H + damping)^-1, the inputs of the tile in the factor's order.
[[nodiscard]] inline RowTile solve(const HessianFactor& factor, RowTile tile,
                                   const KernelTable& kernels) {
  const Eigen::MatrixXd& halves = factor.halves;
  const Index size = halves.rows();
  hessian_factor_detail::solve_lower(halves, 0, tile, kernels);
  // The transpose of M, block by block of its columns.
  RowTile result(tile.size(), RowStrip::Zero(panel_rows, size));
  for (Index begin = 0; begin < size; begin += factor_block) {
    const Index end = std::min(begin + factor_block, size);
    for (std::size_t s = 0; s < tile.size(); ++s) {
      add_product(tile[s].col(begin).data(), halves.block(0, begin, begin, end - begin),
                  result[s].data(), kernels);
      for (Index k = begin; k < end; ++k) {
        add_product(tile[s].col(k).data(), halves.block(begin, k, k + 1 - begin, 1),
                    result[s].col(begin).data(), kernels);
      }
    }
  }
  return result;
}

}  // namespace nibble
