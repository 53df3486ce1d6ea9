// Quantizes a model by a recipe: in memory, or from folder to folder.
#pragma once

#include <array>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/io/atomic_directory.hpp>
#include <nibble/io/output_file.hpp>
#include <nibble/model/bit_budget.hpp>
#include <nibble/model/budget_json.hpp>
#include <nibble/model/calibrate.hpp>
#include <nibble/model/layer_files.hpp>
#include <nibble/model/model_folder.hpp>
#include <nibble/model/packed_checkpoint.hpp>
#include <nibble/model/quantize_memory.hpp>
#include <nibble/model/quantized_tensors.hpp>
#include <nibble/model/recipe.hpp>
#include <nibble/model/run_fingerprint.hpp>

namespace nibble {

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

namespace quantize_detail {

/// Writes config.json and recipe.json, and copies the files that tokenizer and generation need.
inline void write_companions(const ModelFolder& model, const Recipe& recipe,
                             const std::filesystem::path& folder) {
  nlohmann::json config = model.config_json();
  config["quantization_config"] = {{"quant_method", "nibble"},
                                   {"layout_version", layout_version},
                                   {"recipe", recipe_to_json(recipe)}};
  write_text_file(folder / "config.json", config.dump(2) + "\n", Sync::yes);
  write_text_file(folder / "recipe.json", recipe_to_json(recipe).dump(1) + "\n", Sync::yes);

  constexpr std::array<std::string_view, 6> companions{
      "tokenizer.json",          "tokenizer_config.json", "generation_config.json",
      "special_tokens_map.json", "chat_template.jinja",   "LICENSE"};
  for (const std::string_view name : companions) {
    const auto from = model.path() / name;
    std::error_code code;
    if (!std::filesystem::is_regular_file(from, code)) continue;
    std::filesystem::copy_file(from, folder / name, code);
    if (code) fail(path_text(from), ": cannot be copied: ", printable(code.message(), 200));
  }
}

/// As `choose_formats`, unless an interrupted run has chosen already.
[[nodiscard]] inline BudgetedRecipe choose_once(const LayerFiles& layers, const ModelFolder& model,
                                                const Recipe& fixed, const CalibrationText& text,
                                                const BitBudget& budget, ExecutorRef pool,
                                                const Progress& progress,
                                                const KernelTable& kernels) {
  if (const auto chosen = layers.choice()) {
    BudgetedRecipe choice = choice_from_json(*chosen, path_text(layers.choice_file()));
    choice.recipe.require_matches(tensor_specs(model.config()));
    return choice;
  }
  const BudgetedRecipe choice = choose_formats(model.config(), model.float_tensors(), fixed, text,
                                               budget, pool, progress, kernels);
  layers.keep_choice(choice_to_json(choice));
  return choice;
}

}  // namespace quantize_detail

/// How quantize_folder goes about it.
struct QuantizeFolderOptions {
  /// What happens to finished layers when a calibrated quantization is interrupted, by an error, by
  /// Progress or because the program is killed. If true they stay, in the hidden folder
  /// ".<name>.partial" beside the output, and the next call with the same model, text and recipe
  /// goes on from there and ends with the same bytes; a call with others throws Error, and says
  /// what differs. If false nothing stays (but what a killed program leaves).
  bool resumable = false;
  /// Deletes what an interrupted quantization left, and begins anew.
  bool restart = false;
  /// Bytes of anonymous memory; activations go to scratch files beside the output if need be.
  std::optional<std::uint64_t> memory_budget = std::nullopt;
  /// Chooses formats for the Linears that the recipe leaves open (`choose_formats`). Takes a text.
  std::optional<BitBudget> budget = std::nullopt;
};

/// Thrown in the place of an error where what was finished before stays for the next call.
class UnfinishedError : public Error {
 public:
  UnfinishedError(std::string_view reason, std::filesystem::path kept)
      : Error(concat(reason, "; what is finished is in ", path_text(kept))),
        kept_(std::move(kept)) {}

  /// The folder that stays.
  [[nodiscard]] const std::filesystem::path& kept() const noexcept { return kept_; }

 private:
  std::filesystem::path kept_;
};

/// What quantize_folder wrote.
struct QuantizedFolder {
  Recipe recipe;                         // with the rules for the formats that were chosen
  std::optional<BudgetedRecipe> choice;  // where there was a budget
  std::uint64_t file_size = 0;           // of the weights
  double bits_per_weight = 0;            // of the decoder blocks' Linear layers
  std::vector<TensorReport> reports;     // of the tensors that were calibrated
  Index resumed_layers = 0;              // that an interrupted quantization had finished
  MemoryPlan memory;
};

/// Quantizes a model into a folder that every program loads by mapping it: config.json with
/// nibble's quantization_config, recipe.json, model.safetensors in the packed layout, and the
/// tokenizer's and generation files as they were. Finished layers are on disk, and one tensor is in
/// memory at a time, or one layer where it is calibrated. The folder appears when it is complete.
/// Throws as `quantize_model`, `choose_formats`, AtomicDirectory, `plan_memory` and LayerFiles; any
/// Error but Cancelled as UnfinishedError where finished layers stay.
inline QuantizedFolder quantize_folder(const ModelFolder& model, const Recipe& recipe,
                                       const std::filesystem::path& out, Existing existing,
                                       ExecutorRef pool, const Progress& progress = {},
                                       const KernelTable& kernels = nibble::kernels<>(),
                                       const CalibrationText* text = nullptr,
                                       const QuantizeFolderOptions& options = {}) {
  const FloatTensors& floats = model.float_tensors();
  const std::vector<TensorSpec> specs = tensor_specs(model.config());
  recipe.require_matches(specs);
  const bool calibrated = require_calibration(model.config(), recipe, text);
  if (options.budget) {
    if (text == nullptr) fail("bit budget: needs a text to measure losses on");
    require_text(model.config(), *text);
    require_budget(model.config(), floats, recipe, *options.budget);
  } else if (!calibrated) {
    text = nullptr;
  }
  std::error_code ignored;
  if (std::filesystem::equivalent(model.path(), out, ignored)) {
    fail(path_text(out), ": is the model to be quantized; choose another folder");
  }
  QuantizedFolder result;
  result.recipe = recipe;
  result.memory =
      plan_memory(QuantizeMemory(model.config(), floats, recipe, text, pool.size(), options.budget),
                  options.memory_budget);

  std::optional<AtomicDirectory> folder;
  folder.emplace(out, existing);  // before the long work
  std::optional<LayerFiles> layers;
  if (text != nullptr && options.resumable) {
    const std::filesystem::path partial = partial_path(folder->final_path());
    folder.reset();  // so that a program that is killed leaves the layers and nothing else
    if (options.restart) LayerFiles::discard(partial);
    layers.emplace(partial,
                   run_fingerprint(model, recipe, options.budget, *text, kernels, progress), specs,
                   pool);
  } else if (text != nullptr) {
    layers.emplace(folder->path() / "layers", nlohmann::json::object(), specs, pool);
  }
  const auto finish = [&] {
    if (options.budget) {
      result.choice = quantize_detail::choose_once(*layers, model, recipe, *text, *options.budget,
                                                   pool, progress, kernels);
      result.recipe = result.choice->recipe;
    }
    if (layers) {
      result.resumed_layers = layers->finished();
      layers->require_recipe(result.recipe);
      calibrate(model.config(), floats, result.recipe, text, pool, progress, kernels, *layers,
                result.memory.activations_on_disk ? layers->folder() : std::filesystem::path());
      result.reports = layers->tensors().reports;
      if (!folder) folder.emplace(out, existing);
    }
    {
      const QuantizedTensors tensors(floats, result.recipe,
                                     layers ? layers->tensors() : CalibratedTensors{});
      const PackedCheckpoint checkpoint(specs, tensors);
      checkpoint.write(folder->path() / "model.safetensors", pool, progress);
      result.file_size = checkpoint.file_size();
      result.bits_per_weight = checkpoint.bits_per_weight();
    }
    quantize_detail::write_companions(model, result.recipe, folder->path());
    const bool inside = layers && !options.resumable;
    if (inside) layers->remove();
    folder->commit();
    if (layers && !inside) layers->remove();
  };
  try {
    finish();
  } catch (const Cancelled&) {
    throw;
  } catch (const std::exception& error) {
    if (!layers || !options.resumable || !layers->is_kept()) throw;
    const bool memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
    throw UnfinishedError(memory ? "out of memory" : error.what(), layers->folder());
  }
  return result;
}

}  // namespace nibble
