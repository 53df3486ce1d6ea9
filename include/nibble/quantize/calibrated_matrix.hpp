// What a calibrated quantizer hands back: the matrix, and how it went.
#pragma once

#include <nibble/format/any_matrix.hpp>

namespace nibble {

/// How the quantization of a matrix went. Errors are squared changes of its outputs, summed over
/// outputs and the tokens of the calibration, with the damping's share: e (H + damping) e^T.
struct CalibrationReport {
  double error = 0;          // of the matrix
  double nearest_error = 0;  // of round-to-nearest
  double damping = 0;        // that was added to the Hessian's diagonal; 0: it was not used
  Index nearest_rows = 0;    // rows that were rounded to nearest, as that was better
};

struct CalibratedMatrix {
  AnyMatrix matrix;
  CalibrationReport report = {};
};

}  // namespace nibble
