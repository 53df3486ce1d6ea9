// Chooses the format of each Linear so that a model of a given size loses as little as possible.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nibble/model/format_losses.hpp>
#include <nibble/model/recipe.hpp>
#include <nibble/quantize/allocate_bits.hpp>

namespace nibble {

/// Integer formats of 2 to 8 bits, from which a choice is made.
[[nodiscard]] inline std::vector<AnyFormat> budget_candidates() {
  std::vector<AnyFormat> formats;
  for (const char* name : {"int2", "int3", "int4"}) {
    for (const Index group : {128, 64, 32}) formats.push_back(make_format(name, {group, true}));
  }
  formats.push_back(make_format("int8", {}));
  return formats;
}

/// How formats are chosen.
struct BitBudget {
  double bits_per_weight = 4;  // stored, of the decoder blocks' Linears, padding included
  AnyQuantizer method = {};    // of the recipe that comes out
  std::vector<AnyFormat> candidates = budget_candidates();
  Index samples = 16;         // windows of the text for output errors, at most
  Index probe_tokens = 1024;  // tokens of the text's first window for KL divergences, at most
};

/// What was measured of a tensor, and chosen.
struct BudgetedTensor {
  std::string tensor;
  AnyFormat format;
  double bits_per_weight = 0;
  double kl_divergence = 0;  // that this tensor alone, rounded to nearest, is expected to cause
};

struct BudgetedRecipe {
  Recipe recipe;  // the rules given, and one for each tensor whose format was chosen
  std::vector<BudgetedTensor> tensors;
  double bits_per_weight = 0;
};

/// Chooses formats for the Linears that no rule of `fixed` names. A tensor's loss in a format is
/// the KL divergence that it causes when it alone is rounded to nearest: measured once, in the
/// candidate whose size is nearest to the budget, and for the others scaled by the squared changes
/// of its outputs, since the divergence is quadratic in small changes. Losses are then taken to add
/// up (allocate_bits). The same recipe comes out for any number of threads. Throws Error where the
/// text does not do (`require_text`), the budget is below the smallest candidates, or as
/// `quantize_model`; or Cancelled.
[[nodiscard]] inline BudgetedRecipe choose_formats(
    const ModelConfig& config, const FloatTensors& tensors, const Recipe& fixed,
    const CalibrationText& text, const BitBudget& budget, ExecutorRef pool,
    const Progress& progress = {}, const KernelTable& kernels = nibble::kernels<>()) {
  require_text(config, text);
  if (budget.candidates.empty()) fail("bit budget: no candidates to choose from");
  const auto size_of = [](const AnyFormat& format, const TensorSpec& spec) {
    return static_cast<std::uint64_t>(packed_bytes(format, spec.rows, spec.cols));
  };
  std::vector<TensorSpec> specs;
  double weights = 0;
  std::uint64_t fixed_size = 0;
  std::vector<double> sizes(budget.candidates.size());
  for (const TensorSpec& spec : tensor_specs(config)) {
    if (spec.role != TensorRole::Linear) continue;
    weights += static_cast<double>(spec.rows) * static_cast<double>(spec.cols);
    if (fixed.names(spec.name)) {
      const RecipeRule* rule = fixed.find(spec.name);
      fixed_size += size_of(rule == nullptr ? tensors.format(spec) : rule->format, spec);
      continue;
    }
    specs.push_back(spec);
    for (std::size_t f = 0; f < sizes.size(); ++f) {
      sizes[f] += static_cast<double>(size_of(budget.candidates[f], spec));
    }
  }
  if (specs.empty()) fail("bit budget: the recipe's rules leave no tensor to choose a format for");
  const double allowed = budget.bits_per_weight * weights / 8 - static_cast<double>(fixed_size);
  const double least = *std::ranges::min_element(sizes);
  if (!(allowed >= least)) {
    fail("a budget of ", budget.bits_per_weight, " bits per weight is too small: the smallest ",
         "formats to choose from take ", 8 * (least + static_cast<double>(fixed_size)) / weights);
  }
  std::size_t probed = 0;
  for (std::size_t f = 0; f < sizes.size(); ++f) {
    if (std::abs(sizes[f] - allowed) < std::abs(sizes[probed] - allowed)) probed = f;
  }

  CalibrationText some = text;
  some.samples = std::min(text.samples, budget.samples);
  const auto errors =
      output_errors(config, tensors, budget.candidates, some, pool, progress, kernels);
  const auto probe_tokens =
      static_cast<std::size_t>(std::clamp(budget.probe_tokens, Index{1}, text.window));
  TensorProbe probe(config, tensors, std::span(text.tokens).first(probe_tokens), pool, kernels);
  std::vector<std::vector<FormatCost>> costs;
  for (const TensorSpec& spec : specs) {
    report(progress, spec.name, static_cast<Index>(costs.size()), static_cast<Index>(specs.size()));
    const std::vector<double>& error = errors.find(spec.name)->second;
    const double divergence = probe.kl_divergence(spec, budget.candidates[probed]);
    std::vector<FormatCost>& cost = costs.emplace_back();
    for (std::size_t f = 0; f < error.size(); ++f) {
      const double ratio = error[probed] > 0 ? error[f] / error[probed] : 0;
      cost.push_back({size_of(budget.candidates[f], spec), divergence * ratio});
    }
  }
  report(progress, "choosing formats", static_cast<Index>(specs.size()),
         static_cast<Index>(specs.size()));

  const std::vector<std::size_t> choice = allocate_bits(costs, static_cast<std::uint64_t>(allowed));
  BudgetedRecipe result{fixed, {}, 0};
  std::uint64_t used = fixed_size;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const TensorSpec& spec = specs[i];
    const FormatCost& cost = costs[i][choice[i]];
    const AnyFormat& format = budget.candidates[choice[i]];
    used += cost.bytes;
    result.recipe.rules.push_back({spec.name, false, budget.method, format});
    result.tensors.push_back({spec.name, format,
                              8 * static_cast<double>(cost.bytes) /
                                  (static_cast<double>(spec.rows) * static_cast<double>(spec.cols)),
                              cost.loss});
  }
  result.bits_per_weight = 8 * static_cast<double>(used) / weights;
  return result;
}

}  // namespace nibble
