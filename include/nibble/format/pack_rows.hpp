// Builds a packed matrix from a WeightSource, panel by panel on all threads.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <span>
#include <utility>
#include <vector>

#include <nibble/core/executor.hpp>
#include <nibble/format/float_format.hpp>
#include <nibble/format/quantized_matrix.hpp>
#include <nibble/format/weight_source.hpp>

namespace nibble {

/// Reads every row once and calls set_row(builder, row, weights [cols]) for it, rows of a panel in
/// order, panels on all threads. Throws Error where a weight is not finite.
template <WeightFormat F, class SetRow>
[[nodiscard]] QuantizedMatrix<F> pack_rows(const WeightSource& source, const F& format,
                                           ExecutorRef pool, SetRow&& set_row) {
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
                                             ExecutorRef pool) {
  return pack_rows(source, format, pool,
                   [&](MatrixBuilder<F>& builder, Index row, std::span<const float> weights) {
                     for (std::size_t col = 0; col < weights.size(); ++col) {
                       const auto rounded = from_float<typename F::Element>(weights[col]);
                       if (!std::isfinite(to_float(rounded))) {
                         fail("tensor '", source.name, "': weight [", row, "][", col, "] is ",
                              weights[col], ", beyond ", F::name, "'s largest");
                       }
                     }
                     builder.set_row(row, weights);
                   });
}

}  // namespace nibble
