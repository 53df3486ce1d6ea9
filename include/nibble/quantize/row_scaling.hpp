// Quantized matrices whose outputs are divided by scales, by their stored grids alone.
#pragma once

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include <nibble/core/executor.hpp>
#include <nibble/format/any_matrix.hpp>
#include <nibble/quantize/channel_scales.hpp>
#include <nibble/quantize/grid_format.hpp>

namespace nibble {

namespace row_scaling_detail {

/// The smallest normal Float16: below it fewer bits are left of a scale.
inline constexpr float float16_min_normal = 0x1p-14F;

template <GridFormat F>
[[nodiscard]] std::vector<typename GridOf<F>::Grid> stored_grids(const QuantizedMatrix<F>& matrix,
                                                                 Index row) {
  const PanelLayout& layout = matrix.view().layout;
  const std::byte* panel = matrix.view().panel(row / panel_rows);
  const Index lane = row % panel_rows;
  std::vector<typename GridOf<F>::Grid> grids;
  for (Index group = 0; group < layout.groups; ++group) {
    if constexpr (requires { F::scale(panel, lane, group); }) {
      const Float16 scale = F::scale(panel, lane, group);
      const auto zero = static_cast<std::uint8_t>(F::zero(panel, layout, lane, group));
      grids.push_back({scale, zero, to_float(scale)});
    } else {
      grids.push_back({F::minimum(panel, lane, group), F::maximum(panel, layout, lane, group)});
    }
  }
  return grids;
}

template <GridFormat F>
[[nodiscard]] std::vector<std::uint8_t> stored_codes(const QuantizedMatrix<F>& matrix, Index row) {
  const PanelView& view = matrix.view();
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(matrix.cols()));
  for (std::size_t col = 0; col < codes.size(); ++col) {
    codes[col] = static_cast<std::uint8_t>(F::code(view.panel(row / panel_rows), view.layout,
                                                   row % panel_rows, static_cast<Index>(col)));
  }
  return codes;
}

/// What a group's stored scale or range can be divided by without an overflow or a loss of bits.
[[nodiscard]] inline ScaleLimits::Range divisors(const GroupGrid& grid) noexcept {
  const float scale = std::abs(to_float(grid.scale));
  if (scale == 0) return {};
  return {scale / float16_max, std::max(scale / float16_min_normal, 1.0F)};
}
[[nodiscard]] inline ScaleLimits::Range divisors(const Range& range) noexcept {
  const float largest = std::max(std::abs(range.minimum), std::abs(range.maximum));
  return {std::min(2 * (largest / std::numeric_limits<float>::max()), 1.0F)};
}

inline void divide(GroupGrid& grid, float divisor) noexcept {
  grid.scale = to_float16(to_float(grid.scale) / divisor);
}
inline void divide(Range& range, float divisor) noexcept {
  range.minimum /= divisor;
  range.maximum /= divisor;
}

}  // namespace row_scaling_detail

/// What each row of a matrix, whose format is such that has_row_grids, can be divided by so that
/// the grids that are stored keep their precision: [rows].
[[nodiscard]] inline std::vector<ScaleLimits::Range> row_divisors(const AnyMatrix& matrix) {
  return matrix.visit([]<class F>(const QuantizedMatrix<F>& quantized) {
    std::vector<ScaleLimits::Range> ranges(static_cast<std::size_t>(quantized.rows()));
    if constexpr (GridFormat<F>) {
      for (Index row = 0; row < quantized.rows(); ++row) {
        ScaleLimits::Range& range = ranges[static_cast<std::size_t>(row)];
        for (const auto& grid : row_scaling_detail::stored_grids(quantized, row)) {
          const ScaleLimits::Range of_group = row_scaling_detail::divisors(grid);
          range.low = std::max(range.low, of_group.low);
          range.high = std::min(range.high, of_group.high);
        }
      }
    } else {
      assert(false);
    }
    return ranges;
  });
}

/// Divides each row by its divisor, [rows], within row_divisors: the codes stay, the grids' scales
/// are divided and rounded as they are stored. Exact where the divisors are powers of two.
[[nodiscard]] inline AnyMatrix divide_rows(const AnyMatrix& matrix, std::span<const float> divisors,
                                           ExecutorRef pool) {
  assert(static_cast<Index>(divisors.size()) == matrix.rows());
  return matrix.visit([&]<class F>(const QuantizedMatrix<F>& quantized) -> AnyMatrix {
    if constexpr (GridFormat<F>) {
      MatrixBuilder<F> builder(quantized.format(), quantized.rows(), quantized.cols());
      pool.run(quantized.view().panels(), [&](Index panel, int) {
        const Index end = std::min((panel + 1) * panel_rows, quantized.rows());
        for (Index row = panel * panel_rows; row < end; ++row) {
          GridRow<F> stored{row_scaling_detail::stored_codes(quantized, row),
                            row_scaling_detail::stored_grids(quantized, row)};
          for (auto& grid : stored.grids) {
            row_scaling_detail::divide(grid, divisors[static_cast<std::size_t>(row)]);
          }
          stored.store(builder, row);
        }
      });
      return std::move(builder).finish();
    } else {
      assert(false);
      return quantized;
    }
  });
}

}  // namespace nibble
