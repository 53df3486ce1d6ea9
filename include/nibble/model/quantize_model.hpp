// Quantizes a model by a recipe: in memory, or from folder to folder.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/io/atomic_directory.hpp>
#include <nibble/io/output_file.hpp>
#include <nibble/model/model_folder.hpp>
#include <nibble/model/packed_checkpoint.hpp>
#include <nibble/model/recipe.hpp>

namespace nibble {

/// Float tensors as a recipe has them: quantized when they are asked for.
class QuantizedTensors : public TensorProvider {
 public:
  /// Borrows `source`.
  QuantizedTensors(const FloatTensors& source, Recipe recipe)
      : source_(&source), recipe_(std::move(recipe)) {}

  [[nodiscard]] const Recipe& recipe() const noexcept { return recipe_; }

  [[nodiscard]] AnyFormat format(const TensorSpec& spec) const override {
    const RecipeRule* rule = recipe_.find(spec.name);
    return rule == nullptr ? source_->format(spec) : rule->format;
  }

  [[nodiscard]] AnyMatrix matrix(const TensorSpec& spec, ExecutorRef pool) const override {
    const RecipeRule* rule = recipe_.find(spec.name);
    if (rule == nullptr) return source_->matrix(spec, pool);
    return std::visit(
        [&](const auto& method) {
          return method.quantize(source_->source(spec), rule->format, pool);
        },
        rule->method);
  }

  [[nodiscard]] std::vector<float> vector(const TensorSpec& spec) const override {
    return source_->vector(spec);
  }

 private:
  const FloatTensors* source_;
  Recipe recipe_;
};

/// Quantizes in memory. Throws Error, for a recipe that does not fit the model or weights that a
/// format cannot hold, or Cancelled.
[[nodiscard]] inline Decoder quantize_model(const ModelFolder& model, const Recipe& recipe,
                                            ExecutorRef pool, const Progress& progress = {},
                                            const KernelTable& kernels = nibble::kernels<>()) {
  recipe.require_matches(tensor_specs(model.config()));
  const QuantizedTensors tensors(model.float_tensors(), recipe);
  return Decoder(model.config(), tensors, pool, progress, kernels);
}

/// What quantize_folder wrote.
struct QuantizedFolder {
  std::uint64_t file_size = 0;  // of the weights
  double bits_per_weight = 0;   // of the decoder blocks' Linear layers
};

/// Quantizes a model, one tensor in memory at a time, into a folder that every program loads by
/// mapping it: config.json with nibble's quantization_config, model.safetensors in the packed
/// layout, and the tokenizer's and generation files as they were. The folder appears when it is
/// complete. Throws as `quantize_model` and AtomicDirectory.
inline QuantizedFolder quantize_folder(const ModelFolder& model, const Recipe& recipe,
                                       const std::filesystem::path& out, Existing existing,
                                       ExecutorRef pool, const Progress& progress = {}) {
  recipe.require_matches(tensor_specs(model.config()));
  const QuantizedTensors tensors(model.float_tensors(), recipe);
  const PackedCheckpoint checkpoint(tensor_specs(model.config()), tensors);

  std::error_code ignored;
  if (std::filesystem::equivalent(model.path(), out, ignored)) {
    fail(path_text(out), ": is the model to be quantized; choose another folder");
  }
  AtomicDirectory folder(out, existing);
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
  return {checkpoint.file_size(), checkpoint.bits_per_weight()};
}

}  // namespace nibble
