// What a calibrated quantizer hands back: the matrix, and how it went.
#pragma once

#include <nibble/format/any_matrix.hpp>

namespace nibble {

/// How the quantization of a matrix went. Errors are e (H + damping) e^T: squared changes of its
/// outputs, summed over outputs and the tokens of the calibration, and the damping's share. e is
/// the distance from the weights, or with a correction for the inputs from the corrected ones; so
/// compare errors of one choice of options only. Where inputs were scaled, AWQ's errors are of the
/// weights and inputs as they were, without damping; those of the others are of the scaled weights.
struct CalibrationReport {
  double error = 0;             // of the matrix
  double nearest_error = 0;     // of round-to-nearest, measured as `error`; AWQ's without scales
  double damping = 0;           // that was added to the Hessian's diagonal
  double relative_damping = 0;  // the same over the diagonal's mean
  double exponent = 0;          // of mean |input| in the scales of the inputs; 0: not scaled
  Index nearest_rows = 0;  // rows that were rounded to nearest, as that was better or the only way

  /// False where the matrix was rounded to nearest altogether, without a look at its inputs.
  [[nodiscard]] bool errors_known() const noexcept { return damping > 0 || nearest_error > 0; }
};

struct CalibratedMatrix {
  AnyMatrix matrix;
  CalibrationReport report = {};
};

}  // namespace nibble
