// Round-to-nearest: every weight gets the code nearest to it on the min-max grid of its group.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <nibble/format/any_matrix.hpp>
#include <nibble/format/pack_rows.hpp>
#include <nibble/quantize/grids.hpp>

namespace nibble {

/// The quantizer without calibration, for every format.
class RoundToNearest {
 public:
  static constexpr std::string_view name = "rtn";

  /// Throws Error, naming the tensor, for weights that are not finite or a range that the format
  /// cannot hold.
  template <FloatWeightFormat F>
  [[nodiscard]] QuantizedMatrix<F> quantize(const WeightSource& source, const F& format,
                                            ExecutorRef pool) const {
    return pack_floats(source, format, pool);
  }

  template <int Bits>
  [[nodiscard]] QuantizedMatrix<GroupInt<Bits>> quantize(const WeightSource& source,
                                                         const GroupInt<Bits>& format,
                                                         ExecutorRef pool) const {
    return pack_rows(
        source, format, pool,
        [&](MatrixBuilder<GroupInt<Bits>>& builder, Index row, std::span<const float> weights) {
          std::vector<std::uint8_t> codes(weights.size());
          std::vector<Float16> scales;
          std::vector<std::uint8_t> zeros;
          const PanelLayout& layout = builder.layout();
          for_each_group(weights, layout, [&](std::size_t first, std::span<const float> group) {
            const GroupGrid grid = min_max_grid(group, Bits, format.has_zeros, source.name);
            for (std::size_t i = 0; i < group.size(); ++i) {
              codes[first + i] = nearest_code(group[i], grid.step, grid.zero, Bits);
            }
            scales.push_back(grid.scale);
            zeros.push_back(grid.zero);
          });
          builder.set_row(row, {codes, scales, zeros});
        });
  }

  [[nodiscard]] QuantizedMatrix<ZeroOneInt8> quantize(const WeightSource& source,
                                                      const ZeroOneInt8& format,
                                                      ExecutorRef pool) const {
    const Range whole = format.per_tensor ? tensor_range(source) : Range{};
    return pack_rows(
        source, format, pool,
        [&](MatrixBuilder<ZeroOneInt8>& builder, Index row, std::span<const float> weights) {
          std::vector<std::uint8_t> codes(weights.size());
          std::vector<float> minima;
          std::vector<float> maxima;
          const PanelLayout& layout = builder.layout();
          for_each_group(weights, layout, [&](std::size_t first, std::span<const float> group) {
            const Range range = format.per_tensor ? whole : weight_range(group, source.name);
            for (std::size_t i = 0; i < group.size(); ++i) {
              codes[first + i] = zero_one_code(group[i], range);
            }
            minima.push_back(range.minimum);
            maxima.push_back(range.maximum);
          });
          builder.set_row(row, {codes, minima, maxima});
        });
  }

  /// Any format, chosen at run time.
  [[nodiscard]] AnyMatrix quantize(const WeightSource& source, const AnyFormat& format,
                                   ExecutorRef pool) const {
    return std::visit([&](const auto& value) { return AnyMatrix(quantize(source, value, pool)); },
                      format);
  }

 private:
  /// Calls visit(first column, weights) for each group of a row.
  template <class Visit>
  static void for_each_group(std::span<const float> weights, const PanelLayout& layout,
                             Visit&& visit) {
    const auto size = static_cast<std::size_t>(layout.group_size);
    for (std::size_t first = 0; first < weights.size(); first += size) {
      visit(first, weights.subspan(first, std::min(size, weights.size() - first)));
    }
  }

  [[nodiscard]] static Range tensor_range(const WeightSource& source) {
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
};

}  // namespace nibble
