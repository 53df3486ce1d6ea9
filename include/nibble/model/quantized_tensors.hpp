// A model's float tensors as a recipe has them.
#pragma once

#include <utility>
#include <variant>
#include <vector>

#include <nibble/model/calibrated_layers.hpp>
#include <nibble/model/float_tensors.hpp>
#include <nibble/model/recipe.hpp>

namespace nibble {

/// Quantizes by a rule whose method needs no calibration. Throws Error where it does need one.
[[nodiscard]] inline AnyMatrix quantize_plain(const RecipeRule& rule, const WeightSource& source,
                                              ExecutorRef pool) {
  return std::visit(
      [&]<class Q>(const Q& method) -> AnyMatrix {
        if constexpr (PlainQuantizer<Q>) {
          return method.quantize(source, rule.format, pool);
        } else {
          fail("tensor '", source.name, "': method ", Q::name, " needs a calibration");
        }
      },
      rule.method);
}

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
    return quantize_plain(*rule, source_->source(spec), pool);
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
