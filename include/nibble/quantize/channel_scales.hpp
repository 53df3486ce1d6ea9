// Scales for the inputs of Linears, under which the weights of the important ones are rounded
// finer: the activation-aware part of AWQ.
//
// Source: Lin et al., "AWQ: Activation-aware Weight Quantization for LLM Compression and
// Acceleration" (2023), section 3.2. Errors are worked out from Gram matrices instead of by running
// the layer again.
#pragma once

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include <Eigen/Core>

#include <nibble/core/executor.hpp>
#include <nibble/format/formats.hpp>
#include <nibble/format/weight_source.hpp>
#include <nibble/quantize/grid_format.hpp>
#include <nibble/quantize/input_statistics.hpp>
#include <nibble/quantize/output_errors.hpp>

namespace nibble {

/// A Linear's weights, and the format that they are to be rounded to.
struct LinearOnGrid {
  WeightSource source;
  AnyFormat format;
};

/// What the scales of inputs may be; 1 is always allowed.
struct ScaleLimits {
  struct Range {
    float low = 0;
    float high = std::numeric_limits<float>::infinity();
  };
  std::vector<Range> ranges;   // [inputs]
  bool powers_of_two = false;  // products with them are exact
};

/// What the inputs of some Linears are divided by and the columns of their weights multiplied with.
struct ChannelScales {
  std::vector<float> scales;         // [inputs]
  double exponent = 0;               // of the inputs' magnitudes in the scales; 0: all scales are 1
  std::vector<double> errors;        // of each Linear: its outputs' squared error, rounded so
  std::vector<double> plain_errors;  // of each Linear: likewise without scales
};

/// Whether every row has grids of its own, which follow when columns or rows are scaled.
[[nodiscard]] inline bool has_row_grids(const AnyFormat& format) {
  return std::visit(
      []<class F>(const F& value) { return GridFormat<F> && !value.options().per_tensor; }, format);
}

/// magnitude^exponent of each input, over the geometric mean of the largest and the smallest,
/// within `limits`. Inputs that are almost always zero count as 1e-4 of the largest. All 1 where
/// `exponent` or every magnitude is 0.
[[nodiscard]] inline std::vector<float> scales_from(const Eigen::VectorXd& magnitudes,
                                                    const ScaleLimits& limits, double exponent) {
  std::vector<float> scales(limits.ranges.size(), 1.0F);
  const double largest = magnitudes.maxCoeff();
  if (!(largest > 0)) return scales;
  const double smallest = std::max(magnitudes.minCoeff(), 1e-4 * largest);
  const double middle = (std::log2(largest) + std::log2(smallest)) / 2;
  for (std::size_t i = 0; i < scales.size(); ++i) {
    const ScaleLimits::Range& range = limits.ranges[i];
    const double magnitude = std::max(magnitudes[static_cast<Index>(i)], smallest);
    const double power = exponent * (std::log2(magnitude) - middle);
    if (limits.powers_of_two) {
      const double low = std::ceil(std::log2(range.low));
      const double high = std::floor(std::log2(range.high));
      scales[i] = static_cast<float>(std::exp2(std::clamp(std::nearbyint(power), low, high)));
    } else {
      scales[i] = std::clamp(static_cast<float>(std::exp2(power)), range.low, range.high);
    }
  }
  return scales;
}

/// The weights with their columns multiplied by `scales`, [source.cols].
[[nodiscard]] inline WeightSource scale_columns(WeightSource source, std::vector<float> scales) {
  WeightSource scaled{source.name, source.rows, source.cols, {}};
  scaled.read = [source = std::move(source), scales = std::move(scales)](Index first, Index count,
                                                                         float* out) {
    source.read(first, count, out);
    for (Index row = 0; row < count; ++row) {
      for (const float scale : scales) *out++ *= scale;
    }
  };
  return scaled;
}

/// The statistics of inputs that are divided by `scales`.
inline void divide_inputs(InputStatistics& statistics, std::span<const float> scales) {
  const Eigen::VectorXd factors =
      Eigen::Map<const Eigen::VectorXf>(scales.data(), static_cast<Index>(scales.size()))
          .cast<double>()
          .cwiseInverse();
  for (Eigen::MatrixXd* matrix : {&statistics.hessian, &statistics.cross}) {
    if (matrix->size() == 0) continue;
    matrix->array().colwise() *= factors.array();
    matrix->array().rowwise() *= factors.transpose().array();
  }
}

namespace channel_scales_detail {

/// Rows that are rounded together, with every candidate.
inline constexpr Index trial_rows = 8;

/// For each of `candidates` the squared output error of rows [first, first + count) of a Linear
/// whose columns are multiplied by the candidate's scales, rounded to nearest, and divided by the
/// scales again: [candidates]. Infinite where the format cannot hold the scaled weights.
template <GridFormat F>
[[nodiscard]] Eigen::VectorXd rounding_errors(const WeightSource& source, const F& format,
                                              const Eigen::MatrixXd& hessian,
                                              std::span<const std::vector<float>> candidates,
                                              Index first, Index count) {
  const Index cols = source.cols;
  const PanelLayout layout = format.layout(cols);
  const auto grid = [&](std::size_t, std::span<const float> group) {
    return GridOf<F>::make(format, group, source.name);
  };
  Matrix weights(count, cols);
  source.read(first, count, weights.data());
  const auto trials = static_cast<Index>(candidates.size());
  WeightChanges changes(trials * count, cols);
  std::vector<bool> possible(candidates.size(), true);
  std::vector<float> scaled(static_cast<std::size_t>(cols));
  for (Index row = 0; row < count; ++row) {
    require_finite(source, first + row, weights.row(row).data());
    for (Index trial = 0; trial < trials; ++trial) {
      const std::vector<float>& scales = candidates[static_cast<std::size_t>(trial)];
      auto change = changes.row(trial * count + row);
      for (std::size_t col = 0; col < scaled.size(); ++col) {
        scaled[col] = scales[col] * weights(row, static_cast<Index>(col));
      }
      try {
        const GridRow<F> rounded =
            nearest_row<F>(scaled, layout, make_grids<F>(scaled, layout, grid));
        for (Index col = 0; col < cols; ++col) {
          const double scale = scales[static_cast<std::size_t>(col)];
          change[col] = rounded.value(layout, col) / scale - weights(row, col);
        }
      } catch (const Error&) {
        if (trial == 0) throw;
        possible[static_cast<std::size_t>(trial)] = false;
        change.setZero();
      }
    }
  }
  Eigen::VectorXd errors =
      output_errors(changes, hessian).reshaped(count, trials).colwise().sum().transpose();
  for (Index trial = 0; trial < trials; ++trial) {
    if (!possible[static_cast<std::size_t>(trial)]) {
      errors[trial] = std::numeric_limits<double>::infinity();
    }
  }
  return errors;
}

}  // namespace channel_scales_detail

/// Finds the scales of inputs that some Linears share, with the least sum of their outputs' squared
/// errors when each is rounded to nearest on the grids of its format: `magnitudes`, [inputs], to
/// the power of 0, 0.05, ... 1 (scales_from). `hessian` is X^T X of the inputs as they are. The
/// formats are such that has_row_grids. Throws Error, naming the tensor, for weights that are not
/// finite or that the format cannot hold.
[[nodiscard]] inline ChannelScales search_channel_scales(std::span<const LinearOnGrid> linears,
                                                         const Eigen::MatrixXd& hessian,
                                                         const Eigen::VectorXd& magnitudes,
                                                         const ScaleLimits& limits,
                                                         ExecutorRef pool) {
  using channel_scales_detail::trial_rows;
  constexpr int steps = 20;
  std::vector<std::vector<float>> candidates;
  for (int step = 0; step <= steps; ++step) {
    candidates.push_back(scales_from(magnitudes, limits, static_cast<double>(step) / steps));
  }

  struct Task {
    std::size_t linear;
    Index first;
  };
  std::vector<Task> tasks;
  for (std::size_t linear = 0; linear < linears.size(); ++linear) {
    assert(linears[linear].source.cols == hessian.cols());
    for (Index first = 0; first < linears[linear].source.rows; first += trial_rows) {
      tasks.push_back({linear, first});
    }
  }
  Eigen::MatrixXd errors(static_cast<Index>(candidates.size()), static_cast<Index>(tasks.size()));
  pool.run(static_cast<Index>(tasks.size()), [&](Index i, int) {
    const Task& task = tasks[static_cast<std::size_t>(i)];
    const WeightSource& source = linears[task.linear].source;
    const Index count = std::min(trial_rows, source.rows - task.first);
    std::visit(
        [&]<class F>(const F& format) {
          if constexpr (GridFormat<F>) {
            errors.col(i) = channel_scales_detail::rounding_errors(source, format, hessian,
                                                                   candidates, task.first, count);
          } else {
            assert(false);
          }
        },
        linears[task.linear].format);
  });

  Eigen::MatrixXd sums = Eigen::MatrixXd::Zero(errors.rows(), static_cast<Index>(linears.size()));
  for (Index i = 0; i < errors.cols(); ++i) {
    sums.col(static_cast<Index>(tasks[static_cast<std::size_t>(i)].linear)) += errors.col(i);
  }
  Index best = 0;
  sums.rowwise().sum().minCoeff(&best);
  const Eigen::RowVectorXd least = sums.row(best);
  const Eigen::RowVectorXd plain = sums.row(0);
  return {std::move(candidates[static_cast<std::size_t>(best)]),
          static_cast<double>(best) / steps,
          {least.begin(), least.end()},
          {plain.begin(), plain.end()}};
}

}  // namespace nibble
