// A few rows of a matrix in float64, sixteen side by side: what calibrated quantizers work on.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include <Eigen/Core>

#include <nibble/format/format.hpp>
#include <nibble/kernels/kernel_table.hpp>

namespace nibble {

/// Sixteen rows, [input][16]; those that the matrix does not have are zero.
using RowStrip = Eigen::Matrix<double, panel_rows, Eigen::Dynamic>;
/// Strips that go through a large matrix together, so that it is read once for all of them.
using RowTile = std::vector<RowStrip>;
/// Rows of a tile.
inline constexpr Index tile_rows = 4 * panel_rows;

/// `rows` rows of zeros, `cols` inputs each.
[[nodiscard]] inline RowTile zero_tile(Index rows, Index cols) {
  return RowTile(static_cast<std::size_t>(divide_up(rows, panel_rows)),
                 RowStrip::Zero(panel_rows, cols));
}

/// Rows that strip number `strip` has of `rows`.
[[nodiscard]] inline Index rows_in(std::size_t strip, Index rows) noexcept {
  return std::min(panel_rows, rows - static_cast<Index>(strip) * panel_rows);
}

/// sums += rows * block^T. rows: [block.cols()][16]; sums: [block.rows()][16].
inline void add_product(const double* rows, const Eigen::Ref<const Eigen::MatrixXd>& block,
                        double* sums, const KernelTable& kernels) {
  constexpr Index step = 64;
  std::array<const double*, step> columns;
  for (Index first = 0; first < block.cols(); first += step) {
    const Index count = std::min(step, block.cols() - first);
    for (Index k = 0; k < count; ++k) {
      columns[static_cast<std::size_t>(k)] = block.data() + (first + k) * block.outerStride();
    }
    kernels.add_outer_products(columns.data(), rows + first * panel_rows, count, block.rows(),
                               sums);
  }
}

/// tile * matrix^T.
[[nodiscard]] inline RowTile times_transpose(const RowTile& tile, const Eigen::MatrixXd& matrix,
                                             const KernelTable& kernels) {
  constexpr Index step = 64;
  RowTile result(tile.size(), RowStrip::Zero(panel_rows, matrix.rows()));
  for (Index first = 0; first < matrix.cols(); first += step) {
    const auto block = matrix.middleCols(first, std::min(step, matrix.cols() - first));
    for (std::size_t s = 0; s < tile.size(); ++s) {
      add_product(tile[s].col(first).data(), block, result[s].data(), kernels);
    }
  }
  return result;
}

/// The sums of a * b over the inputs of each row, [strips][16].
[[nodiscard]] inline Eigen::VectorXd row_dots(const RowTile& a, const RowTile& b) {
  Eigen::VectorXd dots(static_cast<Index>(a.size()) * panel_rows);
  for (std::size_t s = 0; s < a.size(); ++s) {
    dots.segment<panel_rows>(static_cast<Index>(s) * panel_rows) =
        a[s].cwiseProduct(b[s]).rowwise().sum();
  }
  return dots;
}

/// The inputs of a tile in another order: input order[i] at place i.
[[nodiscard]] inline RowTile permute(const RowTile& tile, const std::vector<Index>& order) {
  RowTile result = tile;
  for (std::size_t s = 0; s < tile.size(); ++s) {
    for (std::size_t place = 0; place < order.size(); ++place) {
      result[s].col(static_cast<Index>(place)) = tile[s].col(order[place]);
    }
  }
  return result;
}

}  // namespace nibble
