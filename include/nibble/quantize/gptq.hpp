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
#include <nibble/quantize/round_to_nearest.hpp>

namespace nibble {

/// How GPTQ goes about it.
struct GptqOptions {
  /// Added to the Hessian's diagonal, relative to its mean.
  double damping = 0.01;
  /// Take the inputs with the largest activations first, on grids that are fixed before (static
  /// groups, so that nothing is permuted at run time). Otherwise in their order, each group's grid
  /// made when its turn comes.
  bool act_order = true;
  /// Search the grids instead of taking them from the ranges (GridSearch).
  bool search_grids = false;
  /// Share of the correction for what the layers before did to the inputs (correct_for_inputs);
  /// takes a calibration with the float model's inputs.
  double correction = 0;
  /// Rounds of CoordinateDescent afterwards: scales, then codes.
  int refinements = 0;
  /// Scale the inputs beforehand, as AwqOptions::scaling.
  bool scaling = false;

  [[nodiscard]] CalibrationNeeds needs() const noexcept { return {correction != 0, scaling}; }

  friend bool operator==(const GptqOptions&, const GptqOptions&) = default;
};

namespace gptq_detail {

/// Rows that are quantized together: two panels.
inline constexpr Index tile_rows = 2 * panel_rows;
/// Inputs whose errors are passed on together.
inline constexpr Index block_inputs = 128;

/// A few rows of a matrix on their way.
template <GridFormat F>
struct Tile {
  std::vector<GridRow<F>> rows;
  Eigen::VectorXd errors;  // of each row: e (H + damping) e^T, e = weights - quantized weights
};

/// e (H + damping) e^T of each row of `errors`, [rows][cols] in the factor's order: the squared
/// length of e L, and e L = e M^-1.
[[nodiscard]] inline Eigen::VectorXd damped_errors(Eigen::MatrixXd errors,
                                                   const HessianFactor& factor) {
  factor.inverse.triangularView<Eigen::Lower>().solveInPlace<Eigen::OnTheRight>(errors);
  return errors.rowwise().squaredNorm();
}

/// GPTQ of the rows of `weights`, [rows][cols] in the factor's order, which are used up.
/// `rows` come with the grids of static groups or, where `make_grid` is to make them, without.
template <GridFormat F, class MakeGrid>
void quantize_tile(Eigen::MatrixXd& weights, const HessianFactor& factor, const PanelLayout& layout,
                   bool static_groups, MakeGrid&& make_grid, Tile<F>& tile) {
  const Eigen::MatrixXd& inverse = factor.inverse;
  const Index count = weights.rows();
  const Index group_size = layout.group_size;
  const Index block = static_groups ? block_inputs : std::min(group_size, block_inputs);
  Eigen::MatrixXd errors(count, block);
  Eigen::VectorXd weight(count);
  tile.errors = Eigen::VectorXd::Zero(count);
  for (Index end = weights.cols(); end > 0;) {
    const Index begin = std::max(end - block, Index{0});
    for (Index place = end - 1; place >= begin; --place) {
      const Index input = factor.order[static_cast<std::size_t>(place)];
      if (!static_groups && input % group_size == 0) {
        // Not permuted: the group's inputs lie in reverse from here on.
        const Index size = std::min(group_size, weights.cols() - input);
        for (Index row = 0; row < count; ++row) {
          const Eigen::RowVectorXf group =
              weights.row(row).segment(place + 1 - size, size).reverse().template cast<float>();
          tile.rows[static_cast<std::size_t>(row)].grids.push_back(
              make_grid(static_cast<std::size_t>(input),
                        std::span<const float>(group.data(), static_cast<std::size_t>(size))));
        }
      }
      const Index before = end - 1 - place;  // places of this block whose errors are known
      weight.noalias() = weights.col(place);
      weight.noalias() -= errors.middleCols(place + 1 - begin, before) *
                          inverse.col(place).segment(place + 1, before);
      const auto group = static_cast<std::size_t>(input / group_size);
      for (Index row = 0; row < count; ++row) {
        GridRow<F>& quantized = tile.rows[static_cast<std::size_t>(row)];
        const auto& grid = quantized.grids[group];
        const std::uint8_t code = GridOf<F>::code(grid, static_cast<float>(weight[row]));
        quantized.codes[static_cast<std::size_t>(input)] = code;
        const double error = (weight[row] - GridOf<F>::value(grid, code)) / inverse(place, place);
        errors(row, place - begin) = error;
        tile.errors[row] += error * error;
      }
    }
    weights.leftCols(begin).noalias() -=
        errors.leftCols(end - begin) * inverse.block(begin, 0, end - begin, begin);
    end = begin;
  }
}

/// A matrix on its way, a tile of rows at a time on all threads.
template <GridFormat F>
class Quantization {
 public:
  /// Borrows everything.
  Quantization(const WeightSource& source, const F& format, const InputStatistics& statistics,
               const HessianFactor& factor, const GptqOptions& options)
      : source_(source),
        format_(format),
        statistics_(statistics),
        factor_(factor),
        options_(options),
        builder_(format, source.rows, source.cols) {
    const Eigen::VectorXf diagonal = statistics.hessian.diagonal().template cast<float>();
    importance_.assign(diagonal.begin(), diagonal.end());
    for (float& each : importance_) each += static_cast<float>(factor.damping);
  }

  [[nodiscard]] CalibratedMatrix run(ExecutorRef pool) && {
    const Index tiles = divide_up(source_.rows, tile_rows);
    std::vector<CalibrationReport> reports(static_cast<std::size_t>(tiles));
    pool.run(tiles, [&](Index tile, int) {
      reports[static_cast<std::size_t>(tile)] =
          quantize_rows(tile * tile_rows, std::min(tile_rows, source_.rows - tile * tile_rows));
    });
    CalibrationReport total{.damping = factor_.damping};
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
    const Index cols = source_.cols;
    const PanelLayout& layout = builder_.layout();
    Matrix original(count, cols);
    source_.read(first, count, original.data());
    for (Index row = 0; row < count; ++row) {
      require_finite(source_, first + row, original.row(row).data());
    }
    Eigen::MatrixXd target = original.cast<double>();
    if (options_.correction != 0) {
      correct_for_inputs(target, statistics_, factor_, options_.correction);
      if (!target.allFinite()) {
        fail("tensor '", source_.name, "': its inputs are too large to correct its weights for");
      }
    }

    Tile<F> tile;
    std::vector<GridRow<F>> nearest;
    const Matrix wanted = target.cast<float>();
    for (Index row = 0; row < count; ++row) {
      nearest.push_back(
          nearest_row<F>(values(original, row), layout,
                         make_grids<F>(values(original, row), layout,
                                       [&](std::size_t, std::span<const float> group) {
                                         return GridOf<F>::make(format_, group, source_.name);
                                       })));
      tile.rows.push_back({std::vector<std::uint8_t>(static_cast<std::size_t>(cols)), {}});
      if (!options_.act_order) continue;
      tile.rows.back().grids = make_grids<F>(
          values(wanted, row), layout,
          [&](std::size_t input, std::span<const float> group) { return make_grid(input, group); });
    }
    Eigen::MatrixXd weights = ordered(target);
    quantize_tile<F>(
        weights, factor_, layout, options_.act_order,
        [&](std::size_t input, std::span<const float> group) { return make_grid(input, group); },
        tile);
    if (options_.refinements > 0) {
      CoordinateDescent<F> descent(target, statistics_.hessian, factor_, layout, tile.rows);
      for (int round = 0; round < options_.refinements; ++round) {
        descent.refit_scales();
        descent.sweep();
      }
      tile.errors = descent.errors();
    }

    for (Index row = 0; row < count; ++row) {
      const GridRow<F>& codes = nearest[static_cast<std::size_t>(row)];
      for (Index col = 0; col < cols; ++col) target(row, col) -= codes.value(layout, col);
    }
    const Eigen::VectorXd nearest_errors = damped_errors(ordered(target), factor_);
    CalibrationReport report;
    for (Index row = 0; row < count; ++row) {
      // Beyond rounding: where both choose the same codes it is GPTQ's row.
      const bool better = tile.errors[row] <= nearest_errors[row] * (1 + 1e-9);
      const auto r = static_cast<std::size_t>(row);
      (better ? tile.rows[r] : nearest[r]).store(builder_, first + row);
      report.error += better ? tile.errors[row] : nearest_errors[row];
      report.nearest_error += nearest_errors[row];
      report.nearest_rows += better ? 0 : 1;
    }
    return report;
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

  /// The columns of a matrix in the factor's order.
  [[nodiscard]] Eigen::MatrixXd ordered(const Eigen::MatrixXd& matrix) const {
    Eigen::MatrixXd result(matrix.rows(), matrix.cols());
    for (Index place = 0; place < matrix.cols(); ++place) {
      result.col(place) = matrix.col(factor_.order[static_cast<std::size_t>(place)]);
    }
    return result;
  }

  [[nodiscard]] static std::span<const float> values(const Matrix& matrix, Index row) {
    return {matrix.row(row).data(), static_cast<std::size_t>(matrix.cols())};
  }

  const WeightSource& source_;
  const F& format_;
  const InputStatistics& statistics_;
  const HessianFactor& factor_;
  const GptqOptions& options_;
  std::vector<float> importance_;  // of each input: the damped Hessian's diagonal
  MatrixBuilder<F> builder_;
};

}  // namespace gptq_detail

/// Quantizes a matrix so that its outputs change least for the inputs of the calibration. A row
/// that would come out with a larger error than round-to-nearest is rounded to nearest. Float
/// formats and a range per tensor are rounded to nearest altogether, and so is a matrix whose
/// Hessian cannot be factored. Throws Error, naming the tensor, for weights or inputs that are not
/// finite or that the format cannot hold.
[[nodiscard]] inline CalibratedMatrix quantize_gptq(const WeightSource& source,
                                                    const AnyFormat& format,
                                                    const InputStatistics& statistics,
                                                    const GptqOptions& options, ExecutorRef pool) {
  require_sides(source.rows, source.cols);
  require_statistics(statistics, options.needs(), source.cols, source.name);
  const auto nearest = [&] {
    return CalibratedMatrix{RoundToNearest().quantize(source, format, pool),
                            {.nearest_rows = source.rows}};
  };
  return std::visit(
      [&]<class F>(const F& value) {
        if constexpr (GridFormat<F>) {
          if (value.options().per_tensor) return nearest();
          const std::optional<HessianFactor> factor = factor_hessian(
              statistics.hessian, quantization_order(statistics.hessian, options.act_order),
              options.damping, pool);
          if (!factor) return nearest();
          return gptq_detail::Quantization<F>(source, value, statistics, *factor, options)
              .run(pool);
        } else {
          return nearest();
        }
      },
      format);
}

/// The quantizer.
class Gptq {
 public:
  static constexpr std::string_view name = "gptq";
  GptqOptions options;

  [[nodiscard]] CalibrationNeeds needs() const noexcept { return options.needs(); }
  [[nodiscard]] CalibratedMatrix quantize(const WeightSource& source, const AnyFormat& format,
                                          const InputStatistics& statistics,
                                          ExecutorRef pool) const {
    return quantize_gptq(source, format, statistics, options, pool);
  }
};

}  // namespace nibble
