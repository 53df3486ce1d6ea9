// GPTQ: codes chosen input by input, each one's error made up for by the inputs that follow.
//
// Source: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
// Transformers" (2022), algorithm 1, with the act-order and static groups of the authors' code.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <Eigen/Core>

#include <nibble/format/any_matrix.hpp>
#include <nibble/format/weight_source.hpp>
#include <nibble/quantize/calibrated_matrix.hpp>
#include <nibble/quantize/coordinate_descent.hpp>
#include <nibble/quantize/grid_format.hpp>
#include <nibble/quantize/grid_search.hpp>
#include <nibble/quantize/hessian_factor.hpp>
#include <nibble/quantize/input_correction.hpp>
#include <nibble/quantize/input_statistics.hpp>
#include <nibble/quantize/quantizers.hpp>
#include <nibble/quantize/round_to_nearest.hpp>
#include <nibble/quantize/row_tile.hpp>

namespace nibble {

namespace gptq_detail {

/// GPTQ of the rows of `weights`, whose inputs are in the factor's order, and which are used up.
/// `rows` come with the grids of static groups or, where `make_grid` is to make them, without.
/// Returns e (H + damping) e^T of each row, e being weights - quantized weights.
template <GridFormat F, class MakeGrid>
[[nodiscard]] Eigen::VectorXd quantize_tile(RowTile& weights, const HessianFactor& factor,
                                            const PanelLayout& layout, bool static_groups,
                                            MakeGrid&& make_grid, std::vector<GridRow<F>>& rows,
                                            const KernelTable& kernels) {
  const Eigen::MatrixXd& halves = factor.halves;
  const Index cols = halves.cols();
  const Index group_size = layout.group_size;
  RowStrip minus = RowStrip::Zero(panel_rows, factor_block);  // errors of the block's inputs
  Eigen::VectorXd errors = Eigen::VectorXd::Zero(static_cast<Index>(rows.size()));
  for (Index end = cols; end > 0; end = std::max(end - factor_block, Index{0})) {
    const Index begin = std::max(end - factor_block, Index{0});
    for (std::size_t s = 0; s < weights.size(); ++s) {
      RowStrip& strip = weights[s];
      const Index first_row = static_cast<Index>(s) * panel_rows;
      const Index count = rows_in(s, static_cast<Index>(rows.size()));
      for (Index place = end - 1; place >= begin; --place) {
        const Index input = factor.order[static_cast<std::size_t>(place)];
        if (!static_groups && input % group_size == 0) {
          // Not permuted: the group's inputs lie in reverse from here on. Groups are whole blocks.
          const Index size = std::min(group_size, cols - input);
          for (Index lane = 0; lane < count; ++lane) {
            const Eigen::RowVectorXf group =
                strip.row(lane).segment(place + 1 - size, size).reverse().template cast<float>();
            rows[static_cast<std::size_t>(first_row + lane)].grids.push_back(
                make_grid(static_cast<std::size_t>(input),
                          std::span<const float>(group.data(), static_cast<std::size_t>(size))));
          }
        }
        const auto group = static_cast<std::size_t>(input / group_size);
        for (Index lane = 0; lane < count; ++lane) {
          GridRow<F>& row = rows[static_cast<std::size_t>(first_row + lane)];
          const auto& grid = row.grids[group];
          const double weight = strip(lane, place);
          const std::uint8_t code = GridOf<F>::code(grid, static_cast<float>(weight));
          row.codes[static_cast<std::size_t>(input)] = code;
          const double error = (weight - GridOf<F>::value(grid, code)) / halves(place, place);
          minus(lane, place - begin) = -error;
          errors[first_row + lane] += error * error;
        }
        add_product(minus.col(place - begin).data(), halves.block(begin, place, place - begin, 1),
                    strip.col(begin).data(), kernels);
      }
      add_product(minus.data(), halves.block(0, begin, begin, end - begin), strip.data(), kernels);
      minus.setZero();
    }
  }
  return errors;
}

/// A matrix on its way, a tile of rows at a time on all threads.
template <GridFormat F>
class Quantization {
 public:
  /// Borrows everything.
  Quantization(const WeightSource& source, const F& format, const InputStatistics& statistics,
               const HessianFactor& factor, const Gptq& options, const KernelTable& kernels)
      : source_(source),
        format_(format),
        hessian_(statistics.hessian),
        factor_(factor),
        options_(options),
        kernels_(kernels),
        builder_(format, source.rows, source.cols) {
    const Eigen::VectorXf diagonal = statistics.hessian.diagonal().template cast<float>();
    importance_.assign(diagonal.begin(), diagonal.end());
    for (float& each : importance_) each += static_cast<float>(factor.damping);
    if (options.correction != 0) drift_ = statistics.cross - statistics.hessian;
  }

  [[nodiscard]] CalibratedMatrix run(ExecutorRef pool) && {
    const Index tiles = divide_up(source_.rows, tile_rows);
    std::vector<CalibrationReport> reports(static_cast<std::size_t>(tiles));
    pool.run(tiles, [&](Index tile, int) {
      reports[static_cast<std::size_t>(tile)] =
          quantize_rows(tile * tile_rows, std::min(tile_rows, source_.rows - tile * tile_rows));
    });
    CalibrationReport total{.damping = factor_.damping,
                            .relative_damping = factor_.relative_damping};
    for (const CalibrationReport& report : reports) {
      total.error += report.error;
      total.nearest_error += report.nearest_error;
      total.nearest_rows += report.nearest_rows;
    }
    return {std::move(builder_).finish(), total};
  }

 private:
  using Grid = typename GridOf<F>::Grid;

  CalibrationReport quantize_rows(Index first, Index count) {
    const PanelLayout& layout = builder_.layout();
    std::vector<GridRow<F>> nearest;
    RowTile target = read(first, count, nearest);
    if (options_.correction != 0) {
      correct_for_inputs(target, drift_, factor_, options_.correction, kernels_);
      const bool finite =
          std::ranges::all_of(target, [](const RowStrip& strip) { return strip.allFinite(); });
      if (!finite) {
        fail("tensor '", source_.name, "': its inputs are too large to correct its weights for");
      }
    }

    const auto grid = [&](std::size_t input, std::span<const float> group) {
      return make_grid(input, group);
    };
    std::vector<GridRow<F>> rows;
    for (Index row = 0; row < count; ++row) {
      rows.push_back({std::vector<std::uint8_t>(static_cast<std::size_t>(source_.cols)), {}});
      if (!options_.act_order) continue;
      const Eigen::RowVectorXf wanted = target[static_cast<std::size_t>(row / panel_rows)]
                                            .row(row % panel_rows)
                                            .template cast<float>();
      rows.back().grids =
          make_grids<F>({wanted.data(), static_cast<std::size_t>(wanted.size())}, layout, grid);
    }
    RowTile weights = permute(target, factor_.order);
    Eigen::VectorXd errors =
        quantize_tile<F>(weights, factor_, layout, options_.act_order, grid, rows, kernels_);
    if (options_.refinements > 0) {
      CoordinateDescent<F> descent(target, hessian_, factor_, layout, rows, kernels_);
      for (int round = 0; round < options_.refinements; ++round) {
        descent.refit_scales();
        descent.sweep();
      }
      errors = descent.errors();
    }

    const RowTile difference = differences(target, layout, nearest);
    const Eigen::VectorXd nearest_errors =
        row_dots(times_transpose(difference, hessian_, kernels_), difference) +
        factor_.damping * row_dots(difference, difference);
    CalibrationReport report;
    for (Index row = 0; row < count; ++row) {
      // Beyond rounding: where both choose the same codes it is GPTQ's row.
      const bool better = errors[row] <= nearest_errors[row] * (1 + 1e-9);
      const auto r = static_cast<std::size_t>(row);
      (better ? rows[r] : nearest[r]).store(builder_, first + row);
      report.error += better ? errors[row] : nearest_errors[row];
      report.nearest_error += nearest_errors[row];
      report.nearest_rows += better ? 0 : 1;
    }
    return report;
  }

  /// Rows of the matrix, and the same rounded to nearest.
  [[nodiscard]] RowTile read(Index first, Index count, std::vector<GridRow<F>>& nearest) const {
    const PanelLayout& layout = builder_.layout();
    Matrix weights(count, source_.cols);
    source_.read(first, count, weights.data());
    RowTile tile = zero_tile(count, source_.cols);
    for (Index row = 0; row < count; ++row) {
      const std::span<const float> values(weights.row(row).data(),
                                          static_cast<std::size_t>(source_.cols));
      require_finite(source_, first + row, values.data());
      auto grids = make_grids<F>(values, layout, [&](std::size_t, std::span<const float> group) {
        return GridOf<F>::make(format_, group, source_.name);
      });
      nearest.push_back(nearest_row<F>(values, layout, std::move(grids)));
      tile[static_cast<std::size_t>(row / panel_rows)].row(row % panel_rows) =
          weights.row(row).template cast<double>();
    }
    return tile;
  }

  /// The grid of the group that starts at an input.
  [[nodiscard]] Grid make_grid(std::size_t input, std::span<const float> group) const {
    if constexpr (requires { F::bits; }) {
      if (options_.search_grids) {
        const std::span<const float> importance(importance_.data() + input, group.size());
        return GridSearch<F::bits>(group, importance).best(format_.has_zeros, source_.name);
      }
    }
    return GridOf<F>::make(format_, group, source_.name);
  }

  const WeightSource& source_;
  const F& format_;
  const Eigen::MatrixXd& hessian_;
  const HessianFactor& factor_;
  const Gptq& options_;
  const KernelTable& kernels_;
  Eigen::MatrixXd drift_;          // X'^T (X - X'), for the correction
  std::vector<float> importance_;  // of each input: the damped Hessian's diagonal
  MatrixBuilder<F> builder_;
};

}  // namespace gptq_detail

/// Quantizes a matrix so that its outputs change least for the inputs of the calibration. A row
/// that would come out with a larger error than round-to-nearest is rounded to nearest. Float
/// formats and a range per tensor are rounded to nearest altogether, and so is a matrix whose
/// Hessian cannot be factored. Throws Error, naming the tensor, for weights or inputs that are not
/// finite or that the format cannot hold.
[[nodiscard]] inline CalibratedMatrix quantize_gptq(
    const WeightSource& source, const AnyFormat& format, const InputStatistics& statistics,
    const Gptq& options, ExecutorRef pool, const KernelTable& kernels = nibble::kernels<>()) {
  require_sides(source.rows, source.cols);
  require_statistics(statistics, options.needs(), source.cols, source.name);
  const auto nearest = [&] {
    return CalibratedMatrix{round_to_nearest(source, format, pool), {.nearest_rows = source.rows}};
  };
  return std::visit(
      [&]<class F>(const F& value) {
        if constexpr (GridFormat<F>) {
          if (value.options().per_tensor) return nearest();
          const std::optional<HessianFactor> factor = factor_hessian(
              statistics.hessian, quantization_order(statistics.hessian, options.act_order),
              options.damping, pool, kernels);
          if (!factor) return nearest();
          return gptq_detail::Quantization<F>(source, value, statistics, *factor, options, kernels)
              .run(pool);
        } else {
          return nearest();
        }
      },
      format);
}

}  // namespace nibble
