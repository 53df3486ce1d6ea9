// A model's float tensors as a recipe has them.
#pragma once

#include <utility>
#include <vector>

#include <nibble/model/calibrated_layers.hpp>
#include <nibble/model/float_tensors.hpp>
#include <nibble/model/recipe.hpp>
#include <nibble/quantize/quantize_plain.hpp>

namespace nibble {

/// Float tensors as a recipe has them: quantized when they are asked for, or before by `calibrate`.
class QuantizedTensors : public TensorProvider {
 public:
  /// Borrows `source`. `calibrated` has the tensors whose methods need a calibration.
  QuantizedTensors(const FloatTensors& source, Recipe recipe, CalibratedTensors calibrated = {})
      : source_(&source), recipe_(std::move(recipe)), calibrated_(std::move(calibrated)) {}

  [[nodiscard]] const Recipe& recipe() const noexcept { return recipe_; }

  [[nodiscard]] AnyFormat format(const TensorSpec& spec) const override {
    const RecipeRule* rule = recipe_.find(spec.name);
    return rule == nullptr ? source_->format(spec) : rule->format;
  }

  [[nodiscard]] AnyMatrix matrix(const TensorSpec& spec, ExecutorRef pool) const override {
    const auto place = calibrated_.matrices.find(spec.name);
    if (place != calibrated_.matrices.end()) return place->second;
    const RecipeRule* rule = recipe_.find(spec.name);
    if (rule == nullptr) return source_->matrix(spec, pool);
    return quantize_plain(source_->source(spec), rule->format, rule->method, pool);
  }

  [[nodiscard]] std::vector<float> vector(const TensorSpec& spec) const override {
    const auto place = calibrated_.vectors.find(spec.name);
    return place == calibrated_.vectors.end() ? source_->vector(spec) : place->second;
  }

 private:
  const FloatTensors* source_;
  Recipe recipe_;
  CalibratedTensors calibrated_;
};

}  // namespace nibble
