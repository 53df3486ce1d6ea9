// Random inputs of Linears as calibration sees them: correlated, some much larger than others.
#pragma once

#include <cmath>
#include <vector>

#include <Eigen/Core>

#include "nibble/core/matrix.hpp"
#include "nibble/quantize/channel_scales.hpp"
#include "nibble/quantize/input_statistics.hpp"
#include "nibble/quantize/row_tile.hpp"
#include "support/matrices.hpp"
#include "support/random.hpp"

namespace nibble::test {

/// [tokens][cols], each channel a mixture of a few causes and noise.
[[nodiscard]] inline Matrix random_inputs(Index tokens, Index cols, unsigned seed) {
  Random random(seed);
  const auto normal = [&](Index rows, Index count) {
    const auto values = random_floats(random, rows * count);
    return Matrix(view_matrix(values.data(), rows, count));
  };
  const Index causes = cols / 4 + 1;
  Matrix inputs = normal(tokens, causes) * normal(causes, cols) + normal(tokens, cols);
  for (Index col = 0; col < cols; ++col) {
    inputs.col(col) *= std::exp2(static_cast<float>(random_integer(random, -2, 2)));
  }
  return inputs;
}

/// Weights of a Linear, [rows][cols].
[[nodiscard]] inline Matrix random_weights(Index rows, Index cols, unsigned seed) {
  Random random(seed);
  const auto values = random_floats(random, rows * cols, 0.05F);
  return view_matrix(values.data(), rows, cols);
}

/// Formats whose rows have grids of their own.
[[nodiscard]] inline std::vector<AnyFormat> row_grid_formats() {
  std::vector<AnyFormat> formats;
  for (const AnyFormat& format : all_formats()) {
    if (has_row_grids(format)) formats.push_back(format);
  }
  return formats;
}

[[nodiscard]] inline Eigen::MatrixXd hessian_of(const Matrix& inputs) {
  const Eigen::MatrixXd x = inputs.cast<double>();
  return x.transpose() * x;
}

[[nodiscard]] inline Eigen::MatrixXd random_hessian(Index tokens, Index cols, unsigned seed) {
  return hessian_of(random_inputs(tokens, cols, seed));
}

/// A matrix as tiles have it, and back.
[[nodiscard]] inline RowTile tile_of(const Eigen::MatrixXd& rows) {
  RowTile tile = zero_tile(rows.rows(), rows.cols());
  for (Index row = 0; row < rows.rows(); ++row) {
    tile[static_cast<std::size_t>(row / panel_rows)].row(row % panel_rows) = rows.row(row);
  }
  return tile;
}
[[nodiscard]] inline Eigen::MatrixXd rows_of(const RowTile& tile, Index count) {
  Eigen::MatrixXd rows(count, tile.front().cols());
  for (Index row = 0; row < count; ++row) {
    rows.row(row) = tile[static_cast<std::size_t>(row / panel_rows)].row(row % panel_rows);
  }
  return rows;
}

}  // namespace nibble::test
