// What quantizers see of an integer format: a grid for each group, and the codes of a row on them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/format/group_int.hpp>
#include <nibble/format/quantized_matrix.hpp>
#include <nibble/format/zero_one_int8.hpp>
#include <nibble/quantize/grids.hpp>
#include <nibble/quantize/row_tile.hpp>

namespace nibble {

/// The grids of a format.
///
/// - `Grid`: what a group stores besides its codes
/// - `make(format, weights, tensor)`: the grid that spans a group's range
/// - `code(grid, weight)`, `value(grid, code)`: the nearest code, and what it stands for
template <class F>
struct GridOf;

template <int Bits>
struct GridOf<GroupInt<Bits>> {
  using Grid = GroupGrid;

  [[nodiscard]] static Grid make(const GroupInt<Bits>& format, std::span<const float> weights,
                                 std::string_view tensor) {
    return min_max_grid(weights, Bits, format.has_zeros, tensor);
  }
  [[nodiscard]] static std::uint8_t code(const Grid& grid, float weight) noexcept {
    return nearest_code(weight, grid.step, grid.zero, Bits);
  }
  [[nodiscard]] static float value(const Grid& grid, int code) noexcept {
    return to_float(grid.scale) * static_cast<float>(code - grid.zero);
  }
};

template <>
struct GridOf<ZeroOneInt8> {
  using Grid = Range;

  [[nodiscard]] static Grid make(const ZeroOneInt8&, std::span<const float> weights,
                                 std::string_view tensor) {
    return weight_range(weights, tensor);
  }
  [[nodiscard]] static std::uint8_t code(const Grid& grid, float weight) noexcept {
    return zero_one_code(weight, grid);
  }
  [[nodiscard]] static float value(const Grid& grid, int code) noexcept {
    return static_cast<float>(
        ((255 - code) * static_cast<double>(grid.minimum) + code * double{grid.maximum}) / 255.0);
  }
};

/// A format whose weights are codes on grids.
template <class F>
concept GridFormat = WeightFormat<F> && requires {
  typename GridOf<F>::Grid;
};

/// A row in the making.
template <GridFormat F>
struct GridRow {
  std::vector<std::uint8_t> codes;              // [cols]
  std::vector<typename GridOf<F>::Grid> grids;  // [groups]

  /// What the code of an input stands for.
  [[nodiscard]] float value(const PanelLayout& layout, Index col) const noexcept {
    return GridOf<F>::value(grids[static_cast<std::size_t>(col / layout.group_size)],
                            codes[static_cast<std::size_t>(col)]);
  }

  /// Packs the row.
  void store(MatrixBuilder<F>& builder, Index row) const {
    if constexpr (requires { grids.front().scale; }) {
      std::vector<Float16> scales;
      std::vector<std::uint8_t> zeros;
      for (const auto& grid : grids) {
        scales.push_back(grid.scale);
        zeros.push_back(grid.zero);
      }
      builder.set_row(row, {codes, scales, zeros});
    } else {
      std::vector<float> minima;
      std::vector<float> maxima;
      for (const auto& grid : grids) {
        minima.push_back(grid.minimum);
        maxima.push_back(grid.maximum);
      }
      builder.set_row(row, {codes, minima, maxima});
    }
  }
};

/// quantized - target of each row of a tile.
template <GridFormat F>
[[nodiscard]] RowTile differences(const RowTile& target, const PanelLayout& layout,
                                  const std::vector<GridRow<F>>& quantized) {
  RowTile result = target;
  for (std::size_t s = 0; s < target.size(); ++s) {
    result[s] = -target[s];
    const auto first = s * static_cast<std::size_t>(panel_rows);
    const Index rows = rows_in(s, static_cast<Index>(quantized.size()));
    for (Index col = 0; col < target[s].cols(); ++col) {
      for (Index lane = 0; lane < rows; ++lane) {
        result[s](lane, col) +=
            quantized[first + static_cast<std::size_t>(lane)].value(layout, col);
      }
    }
  }
  return result;
}

/// A row's grids, one for each group of `layout`, as make_grid(first input, weights of the group)
/// has them.
template <GridFormat F, class MakeGrid>
[[nodiscard]] std::vector<typename GridOf<F>::Grid> make_grids(std::span<const float> weights,
                                                               const PanelLayout& layout,
                                                               MakeGrid&& make_grid) {
  std::vector<typename GridOf<F>::Grid> grids;
  const auto size = static_cast<std::size_t>(layout.group_size);
  for (std::size_t first = 0; first < weights.size(); first += size) {
    grids.push_back(
        make_grid(first, weights.subspan(first, std::min(size, weights.size() - first))));
  }
  return grids;
}

/// Every weight of a row at its nearest code.
template <GridFormat F>
[[nodiscard]] GridRow<F> nearest_row(std::span<const float> weights, const PanelLayout& layout,
                                     std::vector<typename GridOf<F>::Grid> grids) {
  GridRow<F> row{std::vector<std::uint8_t>(weights.size()), std::move(grids)};
  const auto size = static_cast<std::size_t>(layout.group_size);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    row.codes[i] = GridOf<F>::code(row.grids[i / size], weights[i]);
  }
  return row;
}

}  // namespace nibble
