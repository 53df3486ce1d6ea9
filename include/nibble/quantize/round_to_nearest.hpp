// Round-to-nearest: every weight gets the code nearest to it on the min-max grid of its group.
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <vector>

#include <nibble/format/any_matrix.hpp>
#include <nibble/format/pack_rows.hpp>
#include <nibble/quantize/grid_format.hpp>

namespace nibble {

namespace round_to_nearest_detail {

[[nodiscard]] inline Range tensor_range(const WeightSource& source) {
  require_sides(source.rows, source.cols);
  std::vector<float> row(static_cast<std::size_t>(source.cols));
  Range range;
  for (Index i = 0; i < source.rows; ++i) {
    source.read(i, 1, row.data());
    require_finite(source, i, row.data());
    if (i == 0) range = {row.front(), row.front()};
    row.push_back(range.minimum);
    row.push_back(range.maximum);
    range = weight_range(row, source.name);
    row.resize(static_cast<std::size_t>(source.cols));
  }
  return range;
}

}  // namespace round_to_nearest_detail

/// Throws Error, naming the tensor, for weights that are not finite or that the format cannot hold.
template <FloatWeightFormat F>
[[nodiscard]] QuantizedMatrix<F> round_to_nearest(const WeightSource& source, const F& format,
                                                  ExecutorRef pool) {
  return pack_floats(source, format, pool);
}

template <GridFormat F>
[[nodiscard]] QuantizedMatrix<F> round_to_nearest(const WeightSource& source, const F& format,
                                                  ExecutorRef pool) {
  Range whole;
  if constexpr (std::same_as<F, ZeroOneInt8>) {
    if (format.per_tensor) whole = round_to_nearest_detail::tensor_range(source);
  }
  return pack_rows(
      source, format, pool,
      [&](MatrixBuilder<F>& builder, Index row, std::span<const float> weights) {
        const auto grid = [&](std::size_t, std::span<const float> group) {
          if constexpr (std::same_as<F, ZeroOneInt8>) {
            if (format.per_tensor) return whole;
          }
          return GridOf<F>::make(format, group, source.name);
        };
        const PanelLayout& layout = builder.layout();
        nearest_row<F>(weights, layout, make_grids<F>(weights, layout, grid)).store(builder, row);
      });
}

/// Any format, chosen at run time.
[[nodiscard]] inline AnyMatrix round_to_nearest(const WeightSource& source, const AnyFormat& format,
                                                ExecutorRef pool) {
  return std::visit(
      [&](const auto& value) { return AnyMatrix(round_to_nearest(source, value, pool)); }, format);
}

}  // namespace nibble
