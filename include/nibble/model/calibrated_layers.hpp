// What calibration makes of a model's layers, and who takes it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/format/any_matrix.hpp>
#include <nibble/quantize/calibrated_matrix.hpp>

namespace nibble {

/// How the quantization of one tensor went.
struct TensorReport {
  std::string tensor;
  std::string method;
  AnyFormat format;
  CalibrationReport calibration;
  double seconds = 0;  // of the quantizer and its share of the search for scales
};

/// What calibration makes of some layers: every Linear of them that the recipe quantizes, and the
/// norms and biases that took up scales.
struct CalibratedTensors {
  std::map<std::string, AnyMatrix, std::less<>> matrices;
  std::map<std::string, std::vector<float>, std::less<>> vectors;
  std::vector<TensorReport> reports;  // of the calibrated methods, in the order of the model
};

/// Takes the layers of a model one by one, as they are finished; may have some already, from a
/// calibration that was interrupted.
class CalibratedLayers {
 public:
  virtual ~CalibratedLayers() = default;

  /// Layers from the first on that are there.
  [[nodiscard]] virtual Index finished() const = 0;

  /// What there is of them.
  [[nodiscard]] virtual const CalibratedTensors& tensors() const = 0;

  /// Takes the next layer.
  virtual void add(CalibratedTensors layer) = 0;
};

/// Layers that are kept in memory.
class LayersInMemory : public CalibratedLayers {
 public:
  [[nodiscard]] Index finished() const override { return finished_; }
  [[nodiscard]] const CalibratedTensors& tensors() const override { return tensors_; }
  void add(CalibratedTensors layer) override {
    ++finished_;
    tensors_.matrices.merge(std::move(layer.matrices));
    tensors_.vectors.merge(std::move(layer.vectors));
    for (TensorReport& report : layer.reports) tensors_.reports.push_back(std::move(report));
  }

  /// All of them; the object is then empty.
  [[nodiscard]] CalibratedTensors take() && { return std::move(tensors_); }

 private:
  CalibratedTensors tensors_;
  Index finished_ = 0;
};

}  // namespace nibble
