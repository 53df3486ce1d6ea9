// The text that a model is calibrated on, and whether it will do.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include <nibble/core/token_id.hpp>
#include <nibble/model/recipe.hpp>

namespace nibble {

/// A text to calibrate on: windows of consecutive tokens without overlap, each a sequence of its
/// own.
struct CalibrationText {
  std::vector<TokenId> tokens;
  Index window = 1024;  // tokens in a window
  Index samples = 128;  // use the first so many windows, or as many as there are

  [[nodiscard]] Index windows() const noexcept {
    return std::min(samples, static_cast<Index>(tokens.size()) / window);
  }
};

/// Throws Error where a window is longer than the model's context or the text shorter than a
/// window, or a token of its windows is none of the model's.
inline void require_text(const ModelConfig& config, const CalibrationText& text) {
  if (text.window < 1 || text.samples < 1) {
    fail("calibration: ", text.samples, " windows of ", text.window,
         " tokens, expected 1 or more of both");
  }
  if (text.window > config.max_positions) {
    fail("calibration: a window of ", text.window, " tokens is longer than the model's context of ",
         config.max_positions);
  }
  if (text.windows() == 0) {
    fail("calibration: the text has ", text.tokens.size(), " tokens, less than a window of ",
         text.window);
  }
  const auto used = static_cast<std::size_t>(text.windows() * text.window);
  for (const TokenId id : std::span(text.tokens).first(used)) {
    if (id < 0 || id >= config.vocab_size) {
      fail("calibration: token id ", id, " is outside the vocabulary of ", config.vocab_size);
    }
  }
}

/// What the Linears of a model ask of a calibration by a recipe, taken together. Rules that reach
/// none of them ask for nothing.
[[nodiscard]] inline CalibrationNeeds calibration_needs(const ModelConfig& config,
                                                        const Recipe& recipe) {
  CalibrationNeeds all;
  for (const TensorSpec& spec : tensor_specs(config)) {
    const RecipeRule* rule = recipe.find(spec.name);
    if (spec.role != TensorRole::Linear || rule == nullptr) continue;
    const CalibrationNeeds needs = calibration_needs(rule->method);
    all.cross = all.cross || needs.cross;
    all.scaling = all.scaling || needs.scaling;
  }
  return all;
}

/// Throws Error where a recipe has a calibrated method but `text` is null, or for a tensor that is
/// no Linear of the blocks; or as `require_text`. Returns whether the recipe has any calibrated
/// method.
[[nodiscard]] inline bool require_calibration(const ModelConfig& config, const Recipe& recipe,
                                              const CalibrationText* text) {
  bool calibrated = false;
  for (const TensorSpec& spec : tensor_specs(config)) {
    const RecipeRule* rule = recipe.find(spec.name);
    if (spec.role == TensorRole::Vector || rule == nullptr || !is_calibrated(rule->method)) {
      continue;
    }
    const std::string_view method = quantizer_name(rule->method);
    if (spec.role != TensorRole::Linear) {
      fail("recipe: method ", method, " is for the Linear layers of the decoder's blocks; '",
           spec.name, "' is none of them");
    }
    if (text == nullptr) {
      fail("tensor '", spec.name, "': method ", method, " needs a text to calibrate on");
    }
    calibrated = true;
  }
  if (calibrated) require_text(config, *text);
  return calibrated;
}

}  // namespace nibble
