#include "nibble/quantize/round_to_nearest.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "nibble/core/thread_pool.hpp"
#include "support/catch.hpp"
#include "support/matrices.hpp"

using namespace nibble;
using Catch::Matchers::ContainsSubstring;

namespace {

struct Shape {
  Index rows;
  Index cols;
};

Matrix random_weights(Index rows, Index cols, unsigned seed) {
  test::Random random(seed);
  const auto values = test::random_floats(random, rows * cols, 0.05F);
  return view_matrix(values.data(), rows, cols);
}

AnyMatrix quantize(const Matrix& weights, const AnyFormat& format, int threads = 2) {
  ThreadPool pool(threads);
  return round_to_nearest(weight_source("w", weights), format, pool);
}

/// Smallest and largest of a block, with 0 among them where the grid has it.
Range range_of(const Matrix& weights, Index row, Index first, Index count) {
  const auto block = weights.row(row).segment(first, count);
  return {block.minCoeff(), block.maxCoeff()};
}

}  // namespace

TEST_CASE("every format and shape is within its error bound", "[round_to_nearest]") {
  for (const AnyFormat& any_format : test::all_formats()) {
    INFO(describe_format(any_format));
    for (const Shape shape : {Shape{1, 1}, {1, 3}, {17, 33}, {37, 300}}) {
      const Index rows = shape.rows;
      const Index cols = shape.cols;
      const Matrix weights = random_weights(rows, cols, 80);
      const AnyMatrix any = quantize(weights, any_format);
      REQUIRE(any.rows() == rows);
      REQUIRE(any.cols() == cols);
      CHECK(any.format() == any_format);
      int failures = 0;
      any.visit([&]<class F>(const QuantizedMatrix<F>& matrix) {
        const PanelLayout& layout = matrix.view().layout;
        for (Index row = 0; row < rows; ++row) {
          for (Index col = 0; col < cols; ++col) {
            const double weight = weights(row, col);
            double bound = 0;
            const Index group = col / layout.group_size;
            const Index first = group * layout.group_size;
            const Range range =
                range_of(weights, row, first, std::min(layout.group_size, cols - first));
            if constexpr (FloatWeightFormat<F>) {
              const int mantissa = F::name == "float32" ? 24 : F::name == "float16" ? 11 : 8;
              bound = std::max(std::ldexp(std::abs(weight), -mantissa), 0x1p-25);
            } else if constexpr (std::is_same_v<F, ZeroOneInt8>) {
              const double width = matrix.format().per_tensor
                                       ? double{weights.maxCoeff()} - weights.minCoeff()
                                       : double{range.maximum} - range.minimum;
              bound = width / 255 / 2 + std::abs(weight) * 0x1p-23 + 1e-12;
            } else {
              const std::byte* panel = matrix.view().panel(row / 16);
              const double scale = to_float(F::scale(panel, row % 16, group));
              const int zero = F::zero(panel, layout, row % 16, group);
              const double low = -zero * scale;
              const double high = (F::max_code - zero) * scale;
              // Half a step where the codes reach; elsewhere the nearest end.
              const double beyond = std::max({low - weight, weight - high, 0.0});
              bound = std::max(scale / 2 * (1 + 0x1p-15), beyond * (1 + 0x1p-20));
              // And they reach all weights but for half a step (the zero point is rounded; a
              // symmetric grid has one level less above 0) and the rounding of the scale.
              const double most = scale / 2 + (F::max_code + 1) * (scale * 0x1p-11 + 0x1p-25);
              failures += beyond > most * (1 + 0x1p-20);
              // Symmetric codes are the nearest on the scale before it was rounded.
              if (!layout.has_zeros) bound = most * (1 + 0x1p-20);
            }
            failures += !(std::abs(matrix(row, col) - weight) <= bound);
          }
        }
      });
      CAPTURE(rows, cols);
      CHECK(failures == 0);
    }
  }
}

TEST_CASE("the bytes do not depend on the number of threads", "[round_to_nearest]") {
  const Matrix weights = random_weights(83, 150, 81);
  for (const AnyFormat& format : test::all_formats()) {
    INFO(describe_format(format));
    const AnyMatrix one = quantize(weights, format, 1);
    for (const int threads : {2, 3}) {
      const AnyMatrix many = quantize(weights, format, threads);
      REQUIRE(one.bytes().size() == many.bytes().size());
      CHECK(std::memcmp(one.bytes().data(), many.bytes().data(), one.bytes().size()) == 0);
    }
  }
}

TEST_CASE("zero-one keeps the ends of its ranges exactly", "[round_to_nearest]") {
  const Matrix weights = random_weights(33, 150, 82);
  for (const Index group : {0, 32, 64, 128}) {
    const AnyMatrix matrix = quantize(weights, ZeroOneInt8{group, false});
    const Index size = group == 0 ? weights.cols() : group;
    int failures = 0;
    for (Index row = 0; row < weights.rows(); ++row) {
      for (Index first = 0; first < weights.cols(); first += size) {
        const Index count = std::min(size, weights.cols() - first);
        const Range range = range_of(weights, row, first, count);
        for (Index col = first; col < first + count; ++col) {
          const float weight = weights(row, col);
          if (weight == range.minimum || weight == range.maximum) {
            failures += matrix(row, col) != weight;
          }
        }
      }
    }
    CAPTURE(group);
    CHECK(failures == 0);
  }
  const AnyMatrix tensor = quantize(weights, ZeroOneInt8{0, true});
  Index row = 0;
  Index col = 0;
  const float largest = weights.maxCoeff(&row, &col);
  CHECK(tensor(row, col) == largest);
  const float smallest = weights.minCoeff(&row, &col);
  CHECK(tensor(row, col) == smallest);
}

TEST_CASE("zero-one of equal weights is exact", "[round_to_nearest]") {
  const Matrix weights = Matrix::Constant(17, 40, -0.3F);
  for (const bool per_tensor : {false, true}) {
    const AnyMatrix matrix = quantize(weights, ZeroOneInt8{0, per_tensor});
    CHECK(matrix.dequantize() == weights);
    matrix.visit([]<class F>(const QuantizedMatrix<F>& m) {
      if constexpr (std::is_same_v<F, ZeroOneInt8>) {
        CHECK(F::code(m.view().panel(0), m.view().layout, 0, 0) == 0);
      }
    });
  }
}

TEST_CASE("all-zero weights stay zero in integer formats", "[round_to_nearest]") {
  const Matrix weights = Matrix::Zero(17, 40);
  for (const AnyFormat& format : test::all_formats()) {
    INFO(describe_format(format));
    CHECK(quantize(weights, format).dequantize() == weights);
  }
}

TEST_CASE("weights that are not finite are refused in every format", "[round_to_nearest]") {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Matrix weights = random_weights(20, 40, 83);
    weights(18, 39) = bad;
    for (const AnyFormat& format : test::all_formats()) {
      INFO(describe_format(format));
      CHECK_THROWS_WITH(quantize(weights, format),
                        ContainsSubstring("tensor 'w': weight [18][39]"));
    }
  }
}

TEST_CASE("weights beyond a format are refused", "[round_to_nearest]") {
  Matrix weights = Matrix::Zero(2, 40);
  weights(1, 3) = 3e38F;
  weights(0, 2) = -3e38F;
  weights(1, 4) = -3e38F;
  for (const AnyFormat& format : test::all_formats()) {
    INFO(describe_format(format));
    const std::string_view name = format_name(format);
    if (name == "float32" || name == "bfloat16") {
      CHECK_NOTHROW(quantize(weights, format));
    } else {
      CHECK_THROWS_WITH(quantize(weights, format), ContainsSubstring("tensor 'w'"));
    }
  }
}

TEST_CASE("sources of impossible shapes are refused before they are read", "[round_to_nearest]") {
  ThreadPool pool(1);
  const auto never = [](Index, Index, float*) { FAIL("read"); };
  for (const AnyFormat& format : test::all_formats()) {
    INFO(describe_format(format));
    for (const Index side : {Index{0}, Index{-1}, std::numeric_limits<Index>::max()}) {
      CHECK_THROWS_AS(round_to_nearest({"w", side, 8, never}, format, pool), Error);
      CHECK_THROWS_AS(round_to_nearest({"w", 8, side, never}, format, pool), Error);
    }
  }
}
