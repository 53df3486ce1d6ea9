// Builds a packed matrix from a WeightSource, panel by panel on all threads.
#pragma once

#include <span>
#include <vector>

#include <nibble/core/thread_pool.hpp>
#include <nibble/format/float_format.hpp>
#include <nibble/format/quantized_matrix.hpp>
#include <nibble/format/weight_source.hpp>

namespace nibble {

/// Reads every row once and calls set_row(builder, row, weights [cols]) for it, rows of a panel in
/// order, panels on all threads. Throws Error where a weight is not finite.
template <WeightFormat F, class SetRow>
[[nodiscard]] QuantizedMatrix<F> pack_rows(const WeightSource& source, const F& format,
                                           ThreadPool& pool, SetRow&& set_row) {
  MatrixBuilder<F> builder(format, source.rows, source.cols);
  const auto cols = static_cast<std::size_t>(source.cols);
  pool.run(divide_up(source.rows, panel_rows), [&](Index panel, int) {
    const Index first = panel * panel_rows;
    const Index count = std::min(panel_rows, source.rows - first);
    std::vector<float> weights(static_cast<std::size_t>(count) * cols);
    source.read(first, count, weights.data());
    for (Index row = 0; row < count; ++row) {
      const float* values = weights.data() + row * source.cols;
      require_finite(source, first + row, values);
      set_row(builder, first + row, std::span<const float>(values, cols));
    }
  });
  return std::move(builder).finish();
}

/// Packs weights into a float format, rounding where it is narrower than they are. Throws Error
/// where a weight is beyond the format's range.
template <FloatWeightFormat F>
[[nodiscard]] QuantizedMatrix<F> pack_floats(const WeightSource& source, const F& format,
                                             ThreadPool& pool) {
  return pack_rows(source, format, pool,
                   [&](MatrixBuilder<F>& builder, Index row, std::span<const float> weights) {
                     if constexpr (std::same_as<F, Float16Format>) {
                       for (const float weight : weights) {
                         if (std::isinf(to_float(to_float16(weight)))) {
                           fail("tensor '", source.name, "': weight ", weight, " in row ", row,
                                " is beyond float16's largest, ", float16_max);
                         }
                       }
                     }
                     builder.set_row(row, weights);
                   });
}

}  // namespace nibble
