// What calibration knows of the inputs of a Linear.
#pragma once

#include <cmath>
#include <string_view>

#include <Eigen/Core>

#include <nibble/core/error.hpp>
#include <nibble/core/matrix.hpp>
#include <nibble/quantize/calibration_needs.hpp>

namespace nibble {

/// Of a Linear's inputs X', as the partly quantized model makes them, and X, as the float model
/// does; [tokens][cols] each.
struct InputStatistics {
  Eigen::MatrixXd hessian;  // X'^T X', [cols][cols]
  Eigen::MatrixXd cross;    // X'^T X, [cols][cols]; empty where nobody asked for it
};

/// Throws Error, naming the tensor, where the statistics do not fit its columns or an input was
/// infinite, not a number, or so large that its square is.
inline void require_statistics(const InputStatistics& statistics, const CalibrationNeeds& needs,
                               Index cols, std::string_view tensor) {
  const auto fits = [&](const Eigen::MatrixXd& matrix) {
    return matrix.rows() == cols && matrix.cols() == cols;
  };
  if (!fits(statistics.hessian) || (needs.cross && !fits(statistics.cross))) {
    fail("tensor '", tensor, "': its calibration is not of ", cols, " inputs");
  }
  for (Index col = 0; col < cols; ++col) {
    const bool finite = std::isfinite(statistics.hessian(col, col)) &&
                        (!needs.cross || std::isfinite(statistics.cross(col, col)));
    if (!finite) {
      fail("tensor '", tensor, "': input ", col,
           " is infinite, not a number or too large in the calibration");
    }
  }
}

}  // namespace nibble
