// How far a packed matrix is from the weights that it was made of.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <nibble/format/any_matrix.hpp>
#include <nibble/format/weight_source.hpp>

namespace nibble {

/// Of all weights of a matrix, in float64.
struct ErrorStatistics {
  double mse = 0;      // mean squared error
  double maximum = 0;  // largest absolute error
  double sqnr_db = 0;  // 10 log10(sum of squared weights / sum of squared errors), inf if exact
};

/// Throws Error where the shapes differ.
[[nodiscard]] inline ErrorStatistics error_statistics(const AnyMatrix& matrix,
                                                      const WeightSource& original) {
  if (matrix.rows() != original.rows || matrix.cols() != original.cols) {
    fail("tensor '", original.name, "': expected ", original.rows, " x ", original.cols,
         " weights, found ", matrix.rows(), " x ", matrix.cols());
  }
  const auto cols = static_cast<std::size_t>(original.cols);
  std::vector<float> exact(cols);
  std::vector<float> stored(cols);
  double error = 0;
  double signal = 0;
  double maximum = 0;
  for (Index row = 0; row < original.rows; ++row) {
    original.read(row, 1, exact.data());
    matrix.dequantize_row(row, stored);
    for (std::size_t col = 0; col < cols; ++col) {
      const double difference = static_cast<double>(stored[col]) - exact[col];
      error += difference * difference;
      signal += static_cast<double>(exact[col]) * exact[col];
      maximum = std::max(maximum, std::abs(difference));
    }
  }
  const double count = static_cast<double>(original.rows) * static_cast<double>(original.cols);
  return {error / count, maximum,
          error == 0 ? std::numeric_limits<double>::infinity() : 10 * std::log10(signal / error)};
}

}  // namespace nibble
