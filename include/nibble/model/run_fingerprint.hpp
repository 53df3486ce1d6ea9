// What the bytes of a calibrated quantization depend on, so that only the same one is resumed.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include <nlohmann/json.hpp>

#include <nibble/core/fingerprint.hpp>
#include <nibble/core/progress.hpp>
#include <nibble/core/version.hpp>
#include <nibble/io/sharded_safetensors.hpp>
#include <nibble/kernels/kernel_table.hpp>
#include <nibble/model/budget_json.hpp>
#include <nibble/model/calibration_text.hpp>
#include <nibble/model/model_folder.hpp>

namespace nibble {

/// The hidden folder beside `final_path` that holds what an interrupted run has finished.
[[nodiscard]] inline std::filesystem::path partial_path(const std::filesystem::path& final_path) {
  std::filesystem::path name = ".";
  name += final_path.filename();
  name += ".partial";
  return final_path.parent_path() / name;
}

/// An object with a field for each thing that could differ: the model, its weights' every byte
/// included, the windows of the text, the recipe and the budget for what it leaves open, the
/// layout's version, the instruction set, and the version of what picks the codes. Throws
/// Cancelled.
[[nodiscard]] inline nlohmann::json run_fingerprint(const ModelFolder& model, const Recipe& recipe,
                                                    const std::optional<BitBudget>& budget,
                                                    const CalibrationText& text,
                                                    const KernelTable& kernels,
                                                    const Progress& progress) {
  Fingerprint weights;
  weights.add(model.config_json().dump());
  const ShardedSafetensors files = ShardedSafetensors::open(model.path());
  const auto names = files.names();
  Index done = 0;
  for (const std::string_view name : names) {
    report(progress, "reading the model", done++, static_cast<Index>(names.size()));
    const TensorView tensor = files.at(name);
    weights.add(name);
    weights.add(dtype_name(tensor.dtype()));
    weights.add(std::as_bytes(tensor.shape()));
    weights.add(tensor.data);
  }
  Fingerprint tokens;
  tokens.add(std::as_bytes(
      std::span(text.tokens).first(static_cast<std::size_t>(text.windows() * text.window))));
  return {{"model", weights.text()},
          {"calibration text", tokens.text()},
          {"window", text.window},
          {"windows", text.windows()},
          {"recipe", recipe_to_json(recipe)},
          {"budget", budget ? budget_to_json(*budget) : nlohmann::json("none")},
          {"layout version", layout_version},
          {"instruction set", std::string(kernels.isa)},
          {"version of nibble", concat(library_version, ", quantizers ", quantizers_revision)}};
}

}  // namespace nibble
