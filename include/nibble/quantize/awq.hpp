// AWQ: round-to-nearest of weights that were scaled for the inputs that matter, on clipped grids.
//
// Source: Lin et al., "AWQ: Activation-aware Weight Quantization for LLM Compression and
// Acceleration" (2023).
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <Eigen/Core>

#include <nibble/format/any_matrix.hpp>
#include <nibble/format/weight_source.hpp>
#include <nibble/kernels/kernel_table.hpp>
#include <nibble/quantize/calibrated_matrix.hpp>
#include <nibble/quantize/channel_scales.hpp>
#include <nibble/quantize/clip_search.hpp>
#include <nibble/quantize/grid_format.hpp>
#include <nibble/quantize/input_statistics.hpp>
#include <nibble/quantize/output_errors.hpp>
#include <nibble/quantize/quantizers.hpp>
#include <nibble/quantize/round_to_nearest.hpp>

namespace nibble {

namespace awq_detail {

/// Rounds a panel's rows, from `first` on, to nearest: on clipped grids where that is better.
template <GridFormat F>
CalibrationReport quantize_rows(const WeightSource& source, const F& format,
                                const Eigen::MatrixXd& hessian, bool clip, Index first,
                                MatrixBuilder<F>& builder) {
  const Index cols = source.cols;
  const Index count = std::min(panel_rows, source.rows - first);
  const PanelLayout& layout = builder.layout();
  Matrix weights(count, cols);
  source.read(first, count, weights.data());
  const auto values = [&](Index row) {
    return std::span<const float>(weights.row(row).data(), static_cast<std::size_t>(cols));
  };
  const auto grid = [&](std::size_t, std::span<const float> group) {
    return GridOf<F>::make(format, group, source.name);
  };
  std::vector<GridRow<F>> rows;  // on the grids of their ranges, then on clipped ones
  for (Index row = 0; row < count; ++row) {
    require_finite(source, first + row, values(row).data());
    rows.push_back(nearest_row<F>(values(row), layout, make_grids<F>(values(row), layout, grid)));
  }
  if (clip) {
    auto clips = search_clips(weights, format, hessian, source.name);
    for (Index row = 0; row < count; ++row) {
      rows.push_back(
          nearest_row<F>(values(row), layout, std::move(clips[static_cast<std::size_t>(row)])));
    }
  }
  WeightChanges changes(static_cast<Index>(rows.size()), cols);
  for (Index i = 0; i < changes.rows(); ++i) {
    for (Index col = 0; col < cols; ++col) {
      const double value = rows[static_cast<std::size_t>(i)].value(layout, col);
      changes(i, col) = value - weights(i % count, col);
    }
  }
  const Eigen::VectorXd errors = output_errors(changes, hessian);
  CalibrationReport report;
  for (Index row = 0; row < count; ++row) {
    const Index clipped = changes.rows() - count + row;
    const bool better = errors[clipped] <= errors[row];
    rows[static_cast<std::size_t>(better ? clipped : row)].store(builder, first + row);
    report.error += better ? errors[clipped] : errors[row];
    report.nearest_error += errors[row];
    report.nearest_rows += better ? 0 : 1;
  }
  return report;
}

}  // namespace awq_detail

/// Rounds a matrix to nearest on grids that are clipped for the inputs of the calibration; a row
/// that would come out with a larger error than without clipping is not clipped. Float formats and
/// a range per tensor are rounded to nearest altogether. Throws Error, naming the tensor, for
/// weights or inputs that are not finite or that the format cannot hold.
[[nodiscard]] inline CalibratedMatrix quantize_awq(const WeightSource& source,
                                                   const AnyFormat& format,
                                                   const InputStatistics& statistics,
                                                   const Awq& options, ExecutorRef pool) {
  require_sides(source.rows, source.cols);
  require_statistics(statistics, {}, source.cols, source.name);
  return std::visit(
      [&]<class F>(const F& value) -> CalibratedMatrix {
        if constexpr (GridFormat<F>) {
          if (has_row_grids(value)) {
            MatrixBuilder<F> builder(value, source.rows, source.cols);
            std::vector<CalibrationReport> reports(
                static_cast<std::size_t>(divide_up(source.rows, panel_rows)));
            pool.run(static_cast<Index>(reports.size()), [&](Index panel, int) {
              reports[static_cast<std::size_t>(panel)] = awq_detail::quantize_rows(
                  source, value, statistics.hessian, options.clip, panel * panel_rows, builder);
            });
            CalibrationReport total;
            for (const CalibrationReport& report : reports) {
              total.error += report.error;
              total.nearest_error += report.nearest_error;
              total.nearest_rows += report.nearest_rows;
            }
            return {std::move(builder).finish(), total};
          }
        }
        return {round_to_nearest(source, value, pool), {.nearest_rows = source.rows}};
      },
      format);
}

}  // namespace nibble
