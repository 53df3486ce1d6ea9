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
#include <nibble/quantize/row_tile.hpp>

namespace nibble {

/// Rows on their grids and the weights that they stand for, moved towards the least
/// (Q - W) (H + damping) (Q - W)^T; no step makes it larger.
template <GridFormat F>
class CoordinateDescent {
 public:
  /// `target` is W; `rows` start as Q. Borrows everything but `target`.
  CoordinateDescent(const RowTile& target, const Eigen::MatrixXd& hessian,
                    const HessianFactor& factor, const PanelLayout& layout,
                    std::vector<GridRow<F>>& rows, const KernelTable& kernels = nibble::kernels<>())
      : hessian_(hessian),
        factor_(factor),
        layout_(layout),
        rows_(rows),
        kernels_(kernels),
        difference_(differences(target, layout, rows)),
        gradient_(times_transpose(difference_, hessian, kernels)) {
    for (std::size_t s = 0; s < gradient_.size(); ++s) {
      gradient_[s] += factor.damping * difference_[s];
    }
  }

  /// Fits each group's scale to its codes, all else as it is, and rounds it to its stored
  /// precision. Formats with ranges instead of scales stay as they are.
  void refit_scales() {
    if constexpr (requires { rows_.front().grids.front().scale; }) {
      RowStrip levels;
      RowStrip products;
      for (Index first = 0; first < hessian_.rows(); first += layout_.group_size) {
        const Index size = std::min(layout_.group_size, hessian_.rows() - first);
        for (std::size_t s = 0; s < gradient_.size(); ++s) {
          find_levels(s, first, size, levels);
          products = factor_.damping * levels;
          add_product(levels.data(), hessian_.block(first, first, size, size), products.data(),
                      kernels_);
          const Lanes curvature = levels.cwiseProduct(products).rowwise().sum();
          auto gradient = gradient_[s].middleCols(first, size);
          const Lanes slope = levels.cwiseProduct(gradient).rowwise().sum();
          levels.array().colwise() *= refit(s, first, slope, curvature).array();
          gradient += factor_.damping * levels;
          difference_[s].middleCols(first, size) += levels;
          add_product(levels.data(), hessian_.middleCols(first, size), gradient_[s].data(),
                      kernels_);
        }
      }
    }
  }

  /// Moves each code to the best point of its grid, all else as it is; the inputs in GPTQ's order.
  void sweep() {
    constexpr Index step = 32;
    const double* columns[step];
    for (Index end = hessian_.rows(); end > 0; end = std::max(end - step, Index{0})) {
      const Index count = std::min(step, end);
      Inputs inputs(count);
      for (Index i = 0; i < count; ++i) {
        inputs[i] = factor_.order[static_cast<std::size_t>(end - 1 - i)];
        columns[i] = hessian_.col(inputs[i]).data();
      }
      Eigen::MatrixXd among(count, count);  // the damped Hessian of these inputs
      for (Index j = 0; j < count; ++j) {
        for (Index i = 0; i < count; ++i) among(i, j) = hessian_(inputs[i], inputs[j]);
        among(j, j) += factor_.damping;
      }
      for (std::size_t s = 0; s < gradient_.size(); ++s) {
        const RowStrip changes = move_codes(s, inputs, among);
        if (changes.isZero(0)) continue;
        kernels_.add_outer_products(columns, changes.data(), count, hessian_.rows(),
                                    gradient_[s].data());
        for (Index i = 0; i < count; ++i) {
          gradient_[s].col(inputs[i]) += factor_.damping * changes.col(i);
          difference_[s].col(inputs[i]) += changes.col(i);
        }
      }
    }
  }

  /// (Q - W) (H + damping) (Q - W)^T of each row.
  [[nodiscard]] Eigen::VectorXd errors() const { return row_dots(gradient_, difference_); }

 private:
  using Lanes = Eigen::Matrix<double, panel_rows, 1>;
  using Inputs = Eigen::Matrix<Index, Eigen::Dynamic, 1>;

  [[nodiscard]] Index rows_in_strip(std::size_t strip) const noexcept {
    return rows_in(strip, static_cast<Index>(rows_.size()));
  }
  [[nodiscard]] GridRow<F>& row(std::size_t strip, Index lane) const noexcept {
    return rows_[strip * static_cast<std::size_t>(panel_rows) + static_cast<std::size_t>(lane)];
  }

  /// code - zero of each weight of a group.
  void find_levels(std::size_t strip, Index first, Index size, RowStrip& levels) const {
    levels.setZero(panel_rows, size);
    const auto group = static_cast<std::size_t>(first / layout_.group_size);
    for (Index lane = 0; lane < rows_in_strip(strip); ++lane) {
      const GridRow<F>& codes = row(strip, lane);
      for (Index i = 0; i < size; ++i) {
        levels(lane, i) =
            codes.codes[static_cast<std::size_t>(first + i)] - codes.grids[group].zero;
      }
    }
  }

  /// Moves a group's scales along the error's slope, and returns by how much.
  [[nodiscard]] Lanes refit(std::size_t strip, Index first, const Lanes& slope,
                            const Lanes& curvature) {
    Lanes changes = Lanes::Zero();
    for (Index lane = 0; lane < rows_in_strip(strip); ++lane) {
      if (!(curvature[lane] > 0)) continue;
      auto& grid = row(strip, lane).grids[static_cast<std::size_t>(first / layout_.group_size)];
      const double old = to_float(grid.scale);
      const Float16 scale = to_float16(static_cast<float>(old - slope[lane] / curvature[lane]));
      const double change = to_float(scale) - old;
      const bool usable = std::isfinite(to_float(scale)) && to_float(scale) != 0;
      if (!usable || !(change * (2 * slope[lane] + change * curvature[lane]) < 0)) continue;
      grid.scale = scale;
      grid.step = to_float(scale);
      changes[lane] = change;
    }
    return changes;
  }

  /// Moves the codes of a few inputs one after the other, and returns how their values change.
  [[nodiscard]] RowStrip move_codes(std::size_t strip, const Inputs& inputs,
                                    const Eigen::MatrixXd& among) {
    const Index count = inputs.size();
    RowStrip gradient(panel_rows, count);
    for (Index i = 0; i < count; ++i) gradient.col(i) = gradient_[strip].col(inputs[i]);
    RowStrip changes = RowStrip::Zero(panel_rows, count);
    for (Index i = 0; i < count; ++i) {
      for (Index lane = 0; lane < rows_in_strip(strip); ++lane) {
        changes(lane, i) = move_code(row(strip, lane), inputs[i], gradient(lane, i), among(i, i));
      }
      add_product(changes.col(i).data(), among.block(i + 1, i, count - i - 1, 1),
                  gradient.data() + (i + 1) * panel_rows, kernels_);
    }
    return changes;
  }

  /// Moves one code, and returns how its value changes.
  [[nodiscard]] double move_code(GridRow<F>& codes, Index input, double gradient,
                                 double curvature) const {
    const auto& grid = codes.grids[static_cast<std::size_t>(input / layout_.group_size)];
    std::uint8_t& code = codes.codes[static_cast<std::size_t>(input)];
    const double before = GridOf<F>::value(grid, code);
    const std::uint8_t nearest =
        GridOf<F>::code(grid, static_cast<float>(before - gradient / curvature));
    if (nearest == code) return 0;
    const double change = GridOf<F>::value(grid, nearest) - before;
    if (!(change * (2 * gradient + change * curvature) < 0)) return 0;
    code = nearest;
    return change;
  }

  const Eigen::MatrixXd& hessian_;
  const HessianFactor& factor_;
  const PanelLayout& layout_;
  std::vector<GridRow<F>>& rows_;
  const KernelTable& kernels_;
  RowTile difference_;  // Q - W
  RowTile gradient_;    // (Q - W) (H + damping): half the error's gradient
};

}  // namespace nibble
