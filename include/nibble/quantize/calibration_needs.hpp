// What a quantizer asks of a calibration.
#pragma once

namespace nibble {

/// Nothing of it set: the inputs' Hessian alone.
struct CalibrationNeeds {
  bool cross = false;    // products with the float model's inputs (InputStatistics::cross)
  bool scaling = false;  // inputs divided by scales where they are made, and the weights multiplied
};

}  // namespace nibble
