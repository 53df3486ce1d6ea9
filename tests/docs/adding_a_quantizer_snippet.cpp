// The snippet of docs/adding-a-quantizer.md: a quantizer of its own.
#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include <nibble/nibble.hpp>

#include "support/catch.hpp"

namespace {

/// The grid, among the min-max grid and several with less range, that has the least squared error.
template <int Bits>
nibble::GroupGrid best_grid(std::span<const float> weights, bool asymmetric,
                            std::string_view tensor) {
  nibble::GroupGrid best;
  double least = std::numeric_limits<double>::infinity();
  std::vector<float> clipped(weights.size());
  for (const float clip : {1.0F, 0.9F, 0.8F, 0.7F}) {
    std::ranges::transform(weights, clipped.begin(), [&](float w) { return clip * w; });
    const auto grid = nibble::min_max_grid(clipped, Bits, asymmetric, tensor);
    const float scale = nibble::to_float(grid.scale);
    double error = 0;
    for (const float weight : weights) {
      const int level = nibble::nearest_code(weight, grid.step, grid.zero, Bits) - grid.zero;
      const double difference = static_cast<double>(weight) - scale * static_cast<float>(level);
      error += difference * difference;
    }
    if (error < least) {
      least = error;
      best = grid;
    }
  }
  return best;
}

/// Round-to-nearest on those grids.
template <int Bits>
nibble::AnyMatrix clipped_round_to_nearest(const nibble::WeightSource& source,
                                           const nibble::GroupInt<Bits>& format,
                                           nibble::ExecutorRef pool) {
  const nibble::PanelLayout layout = format.layout(source.cols);
  const auto size = static_cast<std::size_t>(layout.group_size);
  return nibble::pack_rows(
      source, format, pool, [&](auto& builder, nibble::Index row, std::span<const float> weights) {
        std::vector<std::uint8_t> codes(weights.size());
        std::vector<nibble::Float16> scales;
        std::vector<std::uint8_t> zeros;
        for (std::size_t first = 0; first < weights.size(); first += size) {
          const auto group = weights.subspan(first, std::min(size, weights.size() - first));
          const nibble::GroupGrid grid = best_grid<Bits>(group, format.has_zeros, source.name);
          for (std::size_t i = 0; i < group.size(); ++i) {
            codes[first + i] = nibble::nearest_code(group[i], grid.step, grid.zero, Bits);
          }
          scales.push_back(grid.scale);
          zeros.push_back(grid.zero);
        }
        builder.set_row(row, {codes, scales, zeros});
      });
}

/// Formats without a grid to search are rounded as they are.
inline nibble::AnyMatrix clipped_round_to_nearest(const nibble::WeightSource& source,
                                                  const nibble::AnyFormat& format,
                                                  nibble::ExecutorRef pool) {
  return std::visit(
      [&]<class F>(const F& value) -> nibble::AnyMatrix {
        if constexpr (requires { F::bits; }) return clipped_round_to_nearest(source, value, pool);
        return nibble::round_to_nearest(source, value, pool);
      },
      format);
}

/// Its name and options in the list of quantizers.
struct ClippedRoundToNearest {
  static constexpr std::string_view name = "clipped-rtn";

  template <class Self, class Visit>
  static void for_each_option(Self& /*self*/, Visit&& /*visit*/) {}
};

}  // namespace

TEST_CASE("docs/adding-a-quantizer.md: a new quantizer is no worse than what it starts from") {
  nibble::ThreadPool pool(2);
  nibble::Matrix weights = nibble::Matrix::Random(40, 200);
  weights = weights.cwiseProduct(weights).cwiseProduct(weights);  // long tails
  const nibble::WeightSource source = nibble::weight_source("example", weights);
  for (const char* name : {"int4", "int3", "int2"}) {
    const nibble::AnyFormat format = nibble::make_format(name, {.group_size = 64});
    const auto plain =
        nibble::error_statistics(nibble::round_to_nearest(source, format, pool), source);
    const auto clipped =
        nibble::error_statistics(clipped_round_to_nearest(source, format, pool), source);
    CHECK(clipped.mse <= plain.mse);
  }
  STATIC_REQUIRE(nibble::Quantizer<ClippedRoundToNearest>);
}
