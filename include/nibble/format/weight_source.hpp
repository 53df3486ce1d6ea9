// The float weights that a matrix is made from, read in blocks of rows.
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <utility>

#include <nibble/core/error.hpp>
#include <nibble/core/matrix.hpp>

namespace nibble {

/// A named matrix of rows outputs by cols inputs whose weights are read a few rows at a time, so
/// that a large tensor is never held as floats at once.
struct WeightSource {
  std::string name;  // of the tensor, for messages
  Index rows = 0;
  Index cols = 0;
  /// Writes rows [first, first + count) to out, [count][cols]. Called from several threads.
  std::function<void(Index first, Index count, float* out)> read;
};

/// Reads from a matrix that outlives the source: one in memory as ConstMatrixView has it, since an
/// expression or a column-major matrix would be copied into a view that ends with the call.
[[nodiscard]] inline WeightSource weight_source(std::string name, const ConstMatrixView& weights) {
  const float* data = weights.data();
  const Index stride = weights.outerStride();
  const Index cols = weights.cols();
  return {std::move(name), weights.rows(), cols,
          [data, stride, cols](Index first, Index count, float* out) {
            for (Index row = 0; row < count; ++row) {
              std::memcpy(out + row * cols, data + (first + row) * stride,
                          static_cast<std::size_t>(cols) * sizeof(float));
            }
          }};
}

/// Throws Error, naming tensor and place, where a weight of a row is infinite or not a number.
inline void require_finite(const WeightSource& source, Index row, const float* weights) {
  for (Index col = 0; col < source.cols; ++col) {
    if (!std::isfinite(weights[col])) {
      fail("tensor '", source.name, "': weight [", row, "][", col, "] is ", weights[col]);
    }
  }
}

}  // namespace nibble
