#include "nibble/quantize/channel_scales.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "nibble/core/thread_pool.hpp"
#include "nibble/quantize/mean_magnitudes.hpp"
#include "quantize/calibrations.hpp"
#include "support/catch.hpp"

using namespace nibble;
using Catch::Matchers::ContainsSubstring;

namespace {

ScaleLimits no_limits(Index inputs, bool powers_of_two = false) {
  return {std::vector<ScaleLimits::Range>(static_cast<std::size_t>(inputs)), powers_of_two};
}

Eigen::VectorXd magnitudes_of(const Matrix& inputs) {
  return inputs.cast<double>().cwiseAbs().colwise().mean();
}

/// The search by running the Linears: the squared error of their outputs, rounded with scales.
double error_by_running(const Matrix& weights, const AnyFormat& any_format, const Matrix& inputs,
                        const std::vector<float>& scales) {
  return std::visit(
      [&]<class F>(const F& format) -> double {
        if constexpr (!GridFormat<F>) {
          return -1;
        } else {
          const Index group_size = format.layout(weights.cols()).group_size;
          double error = 0;
          for (Index row = 0; row < weights.rows(); ++row) {
            Eigen::VectorXd change(weights.cols());
            for (Index first = 0; first < weights.cols(); first += group_size) {
              const Index size = std::min(group_size, weights.cols() - first);
              std::vector<float> group;
              for (Index col = first; col < first + size; ++col) {
                group.push_back(weights(row, col) * scales[static_cast<std::size_t>(col)]);
              }
              const auto grid = GridOf<F>::make(format, group, "w");
              for (Index i = 0; i < size; ++i) {
                const float scaled = group[static_cast<std::size_t>(i)];
                const double value = GridOf<F>::value(grid, GridOf<F>::code(grid, scaled));
                const Index col = first + i;
                change[col] = value / double{scales[static_cast<std::size_t>(col)]} -
                              double{weights(row, col)};
              }
            }
            error += (inputs.cast<double>() * change).squaredNorm();
          }
          return error;
        }
      },
      any_format);
}

}  // namespace

TEST_CASE("scales are powers of the magnitudes, centered, and 1 for exponent 0",
          "[channel_scales]") {
  const Eigen::VectorXd magnitudes = Eigen::Vector4d(0.5, 8, 2, 0);
  // The last counts as 1e-4 of the largest.
  const double middle = std::sqrt(8 * 8e-4);
  for (const double exponent : {0.0, 0.35, 1.0}) {
    const std::vector<float> scales = scales_from(magnitudes, no_limits(4), exponent);
    const std::vector<float> powers = scales_from(magnitudes, no_limits(4, true), exponent);
    for (std::size_t i = 0; i < 4; ++i) {
      const double magnitude = i == 3 ? 8e-4 : magnitudes[static_cast<Index>(i)];
      const double expected = std::pow(magnitude / middle, exponent);
      CHECK(scales[i] == Approx(expected).epsilon(1e-6));
      CHECK(std::log2(powers[i]) == std::nearbyint(std::log2(powers[i])));
      CHECK(std::abs(std::log2(powers[i] / expected)) <= 0.5 + 1e-6);
    }
  }
  CHECK(scales_from(magnitudes, no_limits(4), 0) == std::vector<float>(4, 1.0F));
  CHECK(scales_from(Eigen::VectorXd::Zero(4), no_limits(4), 0.5) == std::vector<float>(4, 1.0F));

  ScaleLimits limits = no_limits(4);
  limits.ranges[1] = {0.3F, 3};
  limits.ranges[3] = {0.3F, 3};
  const std::vector<float> limited = scales_from(magnitudes, limits, 1);
  CHECK(limited[1] == 3);
  CHECK(limited[3] == 0.3F);
  CHECK(limited[0] == scales_from(magnitudes, no_limits(4), 1)[0]);
  limits.powers_of_two = true;
  CHECK(scales_from(magnitudes, limits, 1)[1] == 2);
  CHECK(scales_from(magnitudes, limits, 1)[3] == 0.5F);
}

TEST_CASE("columns times scales, and inputs divided by them, are the same Linear",
          "[channel_scales]") {
  const Matrix weights = test::random_weights(5, 7, 1);
  const std::vector<float> scales{1, 2, 0.3F, 5, 0.01F, 1, 3};
  const WeightSource source = scale_columns(weight_source("w", weights), scales);
  CHECK(source.name == "w");
  Matrix scaled(3, 7);
  source.read(2, 3, scaled.data());
  Matrix inputs = test::random_inputs(20, 7, 2);
  InputStatistics statistics{test::hessian_of(inputs),
                             test::random_weights(7, 7, 3).cast<double>()};
  const InputStatistics before = statistics;
  divide_inputs(statistics, scales);
  for (Index i = 0; i < 7; ++i) {
    const float scale = scales[static_cast<std::size_t>(i)];
    for (Index row = 0; row < 3; ++row) CHECK(scaled(row, i) == weights(row + 2, i) * scale);
    for (Index j = 0; j < 7; ++j) {
      const double both = double{scale} * double{scales[static_cast<std::size_t>(j)]};
      CHECK(statistics.hessian(i, j) == Approx(before.hessian(i, j) / both).epsilon(1e-14));
      CHECK(statistics.cross(i, j) == Approx(before.cross(i, j) / both).epsilon(1e-14));
    }
  }
  InputStatistics without_cross{before.hessian, {}};
  divide_inputs(without_cross, scales);
  CHECK(without_cross.hessian == statistics.hessian);
}

TEST_CASE("the scales found are those with which the outputs, run, are nearest",
          "[channel_scales]") {
  const std::vector<AnyFormat> formats = test::row_grid_formats();
  for (std::size_t i = 0; i < formats.size(); ++i) {
    for (const Index cols : {5, 33, 150}) {
      const AnyFormat& other = formats[(i + 3) % formats.size()];
      CAPTURE(describe_format(formats[i]), describe_format(other), cols);
      const Matrix first = test::random_weights(19, cols, 1);
      const Matrix second = test::random_weights(2, cols, 2);
      const Matrix inputs = test::random_inputs(60, cols, 3);
      const std::vector<LinearOnGrid> linears{{weight_source("first", first), formats[i]},
                                              {weight_source("second", second), other}};
      const Eigen::VectorXd magnitudes = magnitudes_of(inputs);
      const ScaleLimits limits = no_limits(cols, i % 2 == 1);
      ThreadPool pool(2);
      const ChannelScales found =
          search_channel_scales(linears, test::hessian_of(inputs), magnitudes, limits, pool);

      REQUIRE(found.errors.size() == 2);
      double least = std::numeric_limits<double>::infinity();
      for (int step = 0; step <= 20; ++step) {
        const double exponent = step / 20.0;
        const std::vector<float> scales = scales_from(magnitudes, limits, exponent);
        const double of_first = error_by_running(first, formats[i], inputs, scales);
        const double of_second = error_by_running(second, other, inputs, scales);
        least = std::min(least, of_first + of_second);
        if (step == 0) {
          CHECK(found.plain_errors[0] == Approx(of_first).epsilon(1e-9));
          CHECK(found.plain_errors[1] == Approx(of_second).epsilon(1e-9));
        }
        if (exponent == found.exponent) {
          CHECK(found.scales == scales);
          CHECK(found.errors[0] == Approx(of_first).epsilon(1e-9));
          CHECK(found.errors[1] == Approx(of_second).epsilon(1e-9));
        }
      }
      CHECK(found.errors[0] + found.errors[1] == Approx(least).epsilon(1e-9));
    }
  }
}

TEST_CASE("scales do not depend on the number of threads", "[channel_scales]") {
  const Matrix weights = test::random_weights(45, 70, 1);
  const Matrix inputs = test::random_inputs(90, 70, 2);
  const std::vector<LinearOnGrid> linears{{weight_source("w", weights), GroupInt<3>{32, true}}};
  std::vector<ChannelScales> found;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    found.push_back(search_channel_scales(linears, test::hessian_of(inputs), magnitudes_of(inputs),
                                          no_limits(70), pool));
    CHECK(found.back().scales == found.front().scales);
    CHECK(found.back().errors == found.front().errors);
  }
  CHECK(found.front().exponent > 0);
  CHECK(found.front().errors[0] < found.front().plain_errors[0]);
}

TEST_CASE("scales that a format cannot hold are not taken; weights that it cannot hold are refused",
          "[channel_scales]") {
  ThreadPool pool(2);
  Matrix weights = Matrix::Constant(3, 4, 0.5F);
  weights(1, 2) = 8e5F;  // a scale of 53,333
  Matrix inputs = Matrix::Constant(5, 4, 0.01F);
  inputs.col(2).setConstant(1);
  const auto search = [&] {
    const std::vector<LinearOnGrid> linears{{weight_source("w", weights), GroupInt<4>{0, true}}};
    return search_channel_scales(linears, test::hessian_of(inputs), magnitudes_of(inputs),
                                 no_limits(4), pool);
  };
  CHECK(search().exponent < 0.1);
  weights(1, 2) = 1e6F;
  CHECK_THROWS_WITH(search(), ContainsSubstring("tensor 'w': a group's scale"));
  weights(1, 2) = std::numeric_limits<float>::infinity();
  CHECK_THROWS_WITH(search(), ContainsSubstring("tensor 'w': weight [1][2]"));
}
