// The float weights that a matrix is made from, read in blocks of rows.
#pragma once

#include <algorithm>
#include <cmath>
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

/// Reads from a matrix that outlives the source.
[[nodiscard]] inline WeightSource weight_source(std::string name,
                                                Eigen::Map<const Matrix> weights) {
  return {std::move(name), weights.rows(), weights.cols(),
          [weights](Index first, Index count, float* out) {
            std::copy_n(weights.data() + first * weights.cols(), count * weights.cols(), out);
          }};
}
[[nodiscard]] inline WeightSource weight_source(std::string name, const Matrix& weights) {
  return weight_source(std::move(name),
                       view_matrix(weights.data(), weights.rows(), weights.cols()));
}
WeightSource weight_source(std::string name, Matrix&& weights) = delete;

/// Throws Error, naming tensor and place, where a weight of a row is infinite or not a number.
inline void require_finite(const WeightSource& source, Index row, const float* weights) {
  for (Index col = 0; col < source.cols; ++col) {
    if (!std::isfinite(weights[col])) {
      fail("tensor '", source.name, "': weight [", row, "][", col, "] is ", weights[col]);
    }
  }
}

}  // namespace nibble
