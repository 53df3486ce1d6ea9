// Codes and scales improved one by one, each given all the others.
//
// Source: coordinate descent on the layer's squared error, as in Nair and Suggala, "CDQuant"
// (2024), alternating with least-squares scales.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <Eigen/Core>

#include <nibble/quantize/grid_format.hpp>
#include <nibble/quantize/hessian_factor.hpp>

namespace nibble {

/// Rows on their grids and the weights that they stand for, moved towards the least
/// (Q - W) (H + damping) (Q - W)^T; no step makes it larger.
template <GridFormat F>
class CoordinateDescent {
 public:
  /// `target` is W, [rows][cols]; `rows` start as Q. Borrows everything.
  CoordinateDescent(const Eigen::MatrixXd& target, const Eigen::MatrixXd& hessian,
                    const HessianFactor& factor, const PanelLayout& layout,
                    std::vector<GridRow<F>>& rows)
      : hessian_(hessian), factor_(factor), layout_(layout), rows_(rows) {
    difference_ = -target.transpose();
    for (Index row = 0; row < target.rows(); ++row) {
      const GridRow<F>& codes = rows[static_cast<std::size_t>(row)];
      for (Index col = 0; col < target.cols(); ++col) {
        difference_(col, row) += codes.value(layout, col);
      }
    }
    gradient_.noalias() = hessian * difference_;
    gradient_ += factor.damping * difference_;
  }

  /// Fits each group's scale to its codes, all else as it is, and rounds it to its stored
  /// precision. Formats with ranges instead of scales stay as they are.
  void refit_scales() {
    if constexpr (requires { rows_.front().grids.front().scale; }) {
      const Index cols = hessian_.rows();
      Eigen::MatrixXd step(layout_.group_size, gradient_.cols());
      Eigen::VectorXd levels(layout_.group_size);
      for (Index group = 0; group < layout_.groups; ++group) {
        const Index first = group * layout_.group_size;
        const Index size = std::min(layout_.group_size, cols - first);
        const auto block = hessian_.block(first, first, size, size);
        for (Index row = 0; row < gradient_.cols(); ++row) {
          GridRow<F>& codes = rows_[static_cast<std::size_t>(row)];
          auto& grid = codes.grids[static_cast<std::size_t>(group)];
          for (Index i = 0; i < size; ++i) {
            levels[i] = codes.codes[static_cast<std::size_t>(first + i)] - grid.zero;
          }
          const auto d = levels.head(size);
          const double slope = gradient_.col(row).segment(first, size).dot(d);
          const double curvature = d.dot(block * d) + factor_.damping * d.squaredNorm();
          double change = 0;
          if (curvature > 0) {
            const double old = to_float(grid.scale);
            const Float16 scale = to_float16(static_cast<float>(old - slope / curvature));
            const double possible = to_float(scale) - old;
            const bool usable = std::isfinite(to_float(scale)) && to_float(scale) != 0;
            if (usable && 2 * possible * slope + possible * possible * curvature < 0) {
              change = possible;
              grid.scale = scale;
              grid.step = to_float(scale);
            }
          }
          step.col(row).head(size) = change * d;
        }
        const auto moved = step.topRows(size);
        gradient_.noalias() += hessian_.middleCols(first, size) * moved;
        gradient_.middleRows(first, size) += factor_.damping * moved;
        difference_.middleRows(first, size) += moved;
      }
    }
  }

  /// Moves each code to the best point of its grid, all else as it is; the inputs in GPTQ's order.
  void sweep() {
    for (Index row = 0; row < gradient_.cols(); ++row) {
      GridRow<F>& codes = rows_[static_cast<std::size_t>(row)];
      for (auto place = factor_.order.rbegin(); place != factor_.order.rend(); ++place) {
        const Index col = *place;
        const double curvature = hessian_(col, col) + factor_.damping;
        const auto& grid = codes.grids[static_cast<std::size_t>(col / layout_.group_size)];
        std::uint8_t& code = codes.codes[static_cast<std::size_t>(col)];
        const double before = GridOf<F>::value(grid, code);
        const double wanted = before - gradient_(col, row) / curvature;
        const std::uint8_t nearest = GridOf<F>::code(grid, static_cast<float>(wanted));
        if (nearest == code) continue;
        const double change = GridOf<F>::value(grid, nearest) - before;
        if (!(change * (2 * gradient_(col, row) + change * curvature) < 0)) continue;
        code = nearest;
        gradient_.col(row) += change * hessian_.col(col);
        gradient_(col, row) += change * factor_.damping;
        difference_(col, row) += change;
      }
    }
  }

  /// (Q - W) (H + damping) (Q - W)^T of each row.
  [[nodiscard]] Eigen::VectorXd errors() const {
    return gradient_.cwiseProduct(difference_).colwise().sum().transpose();
  }

 private:
  const Eigen::MatrixXd& hessian_;
  const HessianFactor& factor_;
  const PanelLayout& layout_;
  std::vector<GridRow<F>>& rows_;
  Eigen::MatrixXd difference_;  // Q - W, [cols][rows]
  Eigen::MatrixXd gradient_;    // (H + damping) (Q - W), likewise: half the error's gradient
};

}  // namespace nibble
