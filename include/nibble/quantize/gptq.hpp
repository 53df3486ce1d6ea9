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
#include <nibble/quantize/grid_format.hpp>
#include <nibble/quantize/hessian_factor.hpp>
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
              make_grid(std::span<const float>(group.data(), static_cast<std::size_t>(size))));
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

}  // namespace gptq_detail

/// Quantizes a matrix so that its outputs change least for the inputs of the calibration. A row
/// that GPTQ would leave with a larger error than round-to-nearest is rounded to nearest. Float
/// formats and a range per tensor are rounded to nearest altogether, and so is a matrix whose
/// Hessian cannot be factored. Throws Error, naming the tensor, for weights or inputs that are not
/// finite or that the format cannot hold.
[[nodiscard]] inline CalibratedMatrix quantize_gptq(const WeightSource& source,
                                                    const AnyFormat& format,
                                                    const InputStatistics& statistics,
                                                    const GptqOptions& options, ExecutorRef pool);

namespace gptq_detail {

template <GridFormat F>
[[nodiscard]] CalibratedMatrix quantize_on_grids(const WeightSource& source, const F& format,
                                                 const HessianFactor& factor,
                                                 const GptqOptions& options, ExecutorRef pool) {
  const Index cols = source.cols;
  MatrixBuilder<F> builder(format, source.rows, cols);
  const PanelLayout& layout = builder.layout();
  const auto make_grid = [&](std::span<const float> group) {
    return GridOf<F>::make(format, group, source.name);
  };
  struct Sums {
    double error = 0;
    double nearest_error = 0;
    Index nearest_rows = 0;
  };
  const Index tiles = divide_up(source.rows, tile_rows);
  std::vector<Sums> sums(static_cast<std::size_t>(tiles));

  pool.run(tiles, [&](Index task, int) {
    const Index first = task * tile_rows;
    const Index count = std::min(tile_rows, source.rows - first);
    Matrix original(count, cols);
    source.read(first, count, original.data());
    Eigen::MatrixXd weights(count, cols);  // in the factor's order
    Eigen::MatrixXd nearest_errors(count, cols);
    Tile<F> tile;
    std::vector<GridRow<F>> nearest;
    for (Index row = 0; row < count; ++row) {
      require_finite(source, first + row, original.row(row).data());
      const std::span<const float> values(original.row(row).data(), static_cast<std::size_t>(cols));
      const auto grids = make_grids<F>(values, layout, make_grid);
      nearest.push_back(nearest_row<F>(values, layout, grids));
      tile.rows.push_back({std::vector<std::uint8_t>(values.size()), {}});
      if (options.act_order) tile.rows.back().grids = grids;
      for (Index place = 0; place < cols; ++place) {
        const auto input = static_cast<std::size_t>(factor.order[static_cast<std::size_t>(place)]);
        const auto group = input / static_cast<std::size_t>(layout.group_size);
        weights(row, place) = values[input];
        nearest_errors(row, place) =
            double{values[input]} - GridOf<F>::value(grids[group], nearest.back().codes[input]);
      }
    }
    quantize_tile<F>(weights, factor, layout, options.act_order, make_grid, tile);
    const Eigen::VectorXd nearest_error = damped_errors(std::move(nearest_errors), factor);
    Sums& sum = sums[static_cast<std::size_t>(task)];
    for (Index row = 0; row < count; ++row) {
      const auto r = static_cast<std::size_t>(row);
      // Beyond rounding: where both choose the same codes it is GPTQ's row.
      const bool better = tile.errors[row] <= nearest_error[row] * (1 + 1e-9);
      (better ? tile.rows[r] : nearest[r]).store(builder, first + row);
      sum.error += better ? tile.errors[row] : nearest_error[row];
      sum.nearest_error += nearest_error[row];
      sum.nearest_rows += better ? 0 : 1;
    }
  });
  CalibrationReport report{.damping = factor.damping};
  for (const Sums& sum : sums) {
    report.error += sum.error;
    report.nearest_error += sum.nearest_error;
    report.nearest_rows += sum.nearest_rows;
  }
  return {std::move(builder).finish(), report};
}

}  // namespace gptq_detail

inline CalibratedMatrix quantize_gptq(const WeightSource& source, const AnyFormat& format,
                                      const InputStatistics& statistics, const GptqOptions& options,
                                      ExecutorRef pool) {
  require_sides(source.rows, source.cols);
  require_statistics(statistics, {}, source.cols, source.name);
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
          return gptq_detail::quantize_on_grids(source, value, *factor, options, pool);
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

  [[nodiscard]] CalibrationNeeds needs() const noexcept { return {}; }
  [[nodiscard]] CalibratedMatrix quantize(const WeightSource& source, const AnyFormat& format,
                                          const InputStatistics& statistics,
                                          ExecutorRef pool) const {
    return quantize_gptq(source, format, statistics, options, pool);
  }
};

}  // namespace nibble
