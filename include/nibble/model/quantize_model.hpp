// Quantizes a model by a recipe: in memory, or from folder to folder.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/io/atomic_directory.hpp>
#include <nibble/io/output_file.hpp>
#include <nibble/model/calibrate.hpp>
#include <nibble/model/model_folder.hpp>
#include <nibble/model/packed_checkpoint.hpp>
#include <nibble/model/recipe.hpp>

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

/// Quantizes in memory; `text` is what calibrated methods are calibrated on, and may be null where
/// there are none. Throws Error, for a recipe that does not fit the model or weights that a format
/// cannot hold, or as `calibrate`, or Cancelled.
[[nodiscard]] inline Decoder quantize_model(const ModelFolder& model, const Recipe& recipe,
                                            ExecutorRef pool, const Progress& progress = {},
                                            const KernelTable& kernels = nibble::kernels<>(),
                                            const CalibrationText* text = nullptr) {
  recipe.require_matches(tensor_specs(model.config()));
  const QuantizedTensors tensors(
      model.float_tensors(), recipe,
      calibrate(model.config(), model.float_tensors(), recipe, text, pool, progress, kernels));
  return Decoder(model.config(), tensors, pool, progress, kernels);
}

/// What quantize_folder wrote.
struct QuantizedFolder {
  std::uint64_t file_size = 0;        // of the weights
  double bits_per_weight = 0;         // of the decoder blocks' Linear layers
  std::vector<TensorReport> reports;  // of the tensors that were calibrated
};

/// Quantizes a model into a folder that every program loads by mapping it: config.json with
/// nibble's quantization_config, model.safetensors in the packed layout, and the tokenizer's and
/// generation files as they were. One tensor is in memory at a time, and all that were calibrated.
/// The folder appears when it is complete. Throws as `quantize_model` and AtomicDirectory.
inline QuantizedFolder quantize_folder(const ModelFolder& model, const Recipe& recipe,
                                       const std::filesystem::path& out, Existing existing,
                                       ExecutorRef pool, const Progress& progress = {},
                                       const KernelTable& kernels = nibble::kernels<>(),
                                       const CalibrationText* text = nullptr) {
  recipe.require_matches(tensor_specs(model.config()));
  std::error_code ignored;
  if (std::filesystem::equivalent(model.path(), out, ignored)) {
    fail(path_text(out), ": is the model to be quantized; choose another folder");
  }
  AtomicDirectory folder(out, existing);  // before the long work
  CalibratedTensors calibrated =
      calibrate(model.config(), model.float_tensors(), recipe, text, pool, progress, kernels);
  std::vector<TensorReport> reports = std::move(calibrated.reports);
  const QuantizedTensors tensors(model.float_tensors(), recipe, std::move(calibrated));
  const PackedCheckpoint checkpoint(tensor_specs(model.config()), tensors);
  checkpoint.write(folder.path() / "model.safetensors", pool, progress);

  nlohmann::json config = model.config_json();
  config["quantization_config"] = {{"quant_method", "nibble"},
                                   {"layout_version", layout_version},
                                   {"recipe", recipe_to_json(recipe)}};
  write_text_file(folder.path() / "config.json", config.dump(2) + "\n", Sync::yes);

  constexpr std::array<std::string_view, 6> companions{
      "tokenizer.json",          "tokenizer_config.json", "generation_config.json",
      "special_tokens_map.json", "chat_template.jinja",   "LICENSE"};
  for (const std::string_view name : companions) {
    const auto from = model.path() / name;
    std::error_code code;
    if (!std::filesystem::is_regular_file(from, code)) continue;
    std::filesystem::copy_file(from, folder.path() / name, code);
    if (code) fail(path_text(from), ": cannot be copied: ", printable(code.message(), 200));
  }
  folder.commit();
  return {checkpoint.file_size(), checkpoint.bits_per_weight(), std::move(reports)};
}

}  // namespace nibble
