// Chooses the format of each Linear so that a model of a given size loses as little as possible.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nibble/model/format_losses.hpp>
#include <nibble/model/packed_checkpoint.hpp>
#include <nibble/model/quantized_tensors.hpp>
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
  std::optional<std::uint64_t> file_size = std::nullopt;  // instead: bytes of the weights' file
  AnyQuantizer method = {};                               // of the recipe that comes out
  std::vector<AnyFormat> candidates = budget_candidates();
  Index samples = 16;         // windows of the text for output errors, at most
  Index probe_tokens = 1024;  // tokens of windows spread over the text for KL divergences, at most
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

namespace bit_budget_detail {

/// The Linears whose formats are to be chosen, and how large the model gets by a choice: the
/// number of a candidate for each of them.
class Choices {
 public:
  using Choice = std::vector<std::size_t>;

  /// Borrows everything. Throws Error where there is nothing to choose, or no number.
  Choices(const ModelConfig& config, const FloatTensors& tensors, const Recipe& fixed,
          const BitBudget& budget)
      : tensors_(tensors), fixed_(fixed), budget_(budget), specs_(tensor_specs(config)) {
    if (budget.candidates.empty()) fail("bit budget: no candidates to choose from");
    if (!budget.file_size && !std::isfinite(budget.bits_per_weight)) {
      fail("bit budget: expected a number of bits per weight, found ", budget.bits_per_weight);
    }
    for (const TensorSpec& spec : specs_) {
      if (spec.role != TensorRole::Linear) continue;
      weights_ += static_cast<double>(spec.rows) * static_cast<double>(spec.cols);
      if (!fixed.names(spec.name)) linears_.push_back(spec);
    }
    if (linears_.empty()) {
      fail("bit budget: the recipe's rules leave no tensor to choose a format for");
    }
  }

  [[nodiscard]] const std::vector<TensorSpec>& linears() const noexcept { return linears_; }

  /// Bytes of a Linear in a candidate.
  [[nodiscard]] std::uint64_t bytes(const TensorSpec& linear, std::size_t candidate) const {
    return packed_bytes(budget_.candidates[candidate], linear.rows, linear.cols);
  }
  /// Of all Linears whose formats are to be chosen.
  [[nodiscard]] std::uint64_t bytes(const Choice& choice) const {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < linears_.size(); ++i) sum += bytes(linears_[i], choice[i]);
    return sum;
  }

  [[nodiscard]] Choice uniform(std::size_t candidate) const {
    return Choice(linears_.size(), candidate);
  }
  /// The fewest bytes; where `costs` are known, in formats that can hold the weights.
  [[nodiscard]] Choice smallest(std::span<const std::vector<FormatCost>> costs = {}) const {
    Choice choice = uniform(0);
    const auto possible = [&](std::size_t linear, std::size_t candidate) {
      return costs.empty() || std::isfinite(costs[linear][candidate].loss);
    };
    for (std::size_t i = 0; i < choice.size(); ++i) {
      for (std::size_t other = 1; other < budget_.candidates.size(); ++other) {
        if (!possible(i, other)) continue;
        const bool smaller = bytes(linears_[i], other) < bytes(linears_[i], choice[i]);
        if (smaller || !possible(i, choice[i])) choice[i] = other;
      }
    }
    return choice;
  }

  [[nodiscard]] Recipe recipe(const Choice& choice) const {
    Recipe recipe = fixed_;
    for (std::size_t i = 0; i < choice.size(); ++i) {
      recipe.rules.push_back(
          {linears_[i].name, false, budget_.method, budget_.candidates[choice[i]]});
    }
    return recipe;
  }

  /// Bytes that the budget is about: of the whole file, or of all Linears of the blocks.
  [[nodiscard]] std::uint64_t size(const Choice& choice) const {
    const QuantizedTensors chosen(tensors_, recipe(choice));
    if (budget_.file_size) return PackedCheckpoint(specs_, chosen).file_size();
    std::uint64_t sum = 0;
    for (const TensorSpec& spec : specs_) {
      if (spec.role == TensorRole::Linear) {
        sum += packed_bytes(chosen.format(spec), spec.rows, spec.cols);
      }
    }
    return sum;
  }
  /// What they may be.
  [[nodiscard]] std::uint64_t limit() const noexcept {
    if (budget_.file_size) return *budget_.file_size;
    const double bytes = budget_.bits_per_weight * weights_ / 8;
    return static_cast<std::uint64_t>(std::clamp(bytes, 0.0, 0x1p62));
  }

  /// Throws Error where the budget is below what `smallest` takes.
  void require_room(std::span<const std::vector<FormatCost>> costs = {}) const {
    const std::uint64_t least = size(smallest(costs));
    if (least <= limit()) return;
    if (budget_.file_size) {
      fail("a budget of ", *budget_.file_size, " bytes is too small: the smallest formats to ",
           "choose from make a file of ", least);
    }
    fail("a budget of ", budget_.bits_per_weight, " bits per weight is too small: the smallest ",
         "formats to choose from take ", 8 * static_cast<double>(least) / weights_);
  }

  [[nodiscard]] double bits_per_weight(const Choice& choice) const {
    const QuantizedTensors chosen(tensors_, recipe(choice));
    return PackedCheckpoint(specs_, chosen).bits_per_weight();
  }

 private:
  const FloatTensors& tensors_;
  const Recipe& fixed_;
  const BitBudget& budget_;
  std::vector<TensorSpec> specs_;
  std::vector<TensorSpec> linears_;
  double weights_ = 0;  // of all Linears
};

/// What each Linear takes and loses in each candidate: losses measured in the candidate whose size
/// is nearest to `room` bytes, of those that change the outputs at all, the others' by their output
/// errors; infinite where a candidate cannot hold the weights.
[[nodiscard]] inline std::vector<std::vector<FormatCost>> format_costs(
    const ModelConfig& config, const FloatTensors& tensors, const Choices& choices,
    std::uint64_t room, const CalibrationText& text, const BitBudget& budget, ExecutorRef pool,
    const Progress& progress, const KernelTable& kernels) {
  const auto distance = [&](std::size_t candidate) {
    return std::abs(static_cast<double>(choices.bytes(choices.uniform(candidate))) -
                    static_cast<double>(room));
  };
  std::vector<std::size_t> nearest(budget.candidates.size());
  std::iota(nearest.begin(), nearest.end(), std::size_t{0});
  std::ranges::stable_sort(nearest, {}, distance);

  CalibrationText some{{}, text.window, std::min(text.samples, budget.samples)};
  some.tokens.assign(text.tokens.begin(),
                     text.tokens.begin() + std::min(text.windows(), some.samples) * text.window);
  const auto errors = format_errors(config, tensors, choices.linears(), budget.candidates, some,
                                    pool, progress, kernels);
  TensorProbe probe(config, tensors, probe_sequences(text, budget.probe_tokens), pool, kernels);
  std::vector<std::vector<FormatCost>> costs;
  const auto count = static_cast<Index>(choices.linears().size());
  for (const TensorSpec& linear : choices.linears()) {
    report(progress, concat("loss of ", linear.name), static_cast<Index>(costs.size()), count);
    const std::vector<double>& error = errors.find(linear.name)->second;
    const auto probed = std::ranges::find_if(nearest, [&](std::size_t candidate) {
      return error[candidate] > 0 && std::isfinite(error[candidate]);
    });
    double ratio = 0;  // of divergence to error
    if (probed != nearest.end()) {
      ratio = probe.kl_divergence(linear, budget.candidates[*probed]) / error[*probed];
    }
    std::vector<FormatCost>& cost = costs.emplace_back();
    for (std::size_t f = 0; f < error.size(); ++f) {
      const double loss = std::isfinite(error[f]) ? ratio * std::max(error[f], 0.0) : error[f];
      cost.push_back({choices.bytes(linear, f), loss});
    }
  }
  report(progress, "choosing formats", count, count);
  return costs;
}

}  // namespace bit_budget_detail

/// Throws Error where a budget is no number or below what the smallest candidates take, or where
/// `fixed` names every Linear of the blocks.
inline void require_budget(const ModelConfig& config, const FloatTensors& tensors,
                           const Recipe& fixed, const BitBudget& budget) {
  bit_budget_detail::Choices(config, tensors, fixed, budget).require_room();
}

/// Chooses formats for the Linears that no rule of `fixed` names. A tensor's loss in a format is
/// the KL divergence that it causes when it alone is rounded to nearest: measured once, in the
/// candidate whose size is nearest to the budget, and for the others scaled by the squared changes
/// of its outputs, since the divergence is quadratic in small changes. Losses are then taken to add
/// up (allocate_bits). Candidates that cannot hold a tensor's weights are passed over. The same
/// recipe comes out for any number of threads. Throws Error where text or budget do not do
/// (`require_text`, `require_budget`), or as `quantize_model`; or Cancelled.
[[nodiscard]] inline BudgetedRecipe choose_formats(
    const ModelConfig& config, const FloatTensors& tensors, const Recipe& fixed,
    const CalibrationText& text, const BitBudget& budget, ExecutorRef pool,
    const Progress& progress = {}, const KernelTable& kernels = nibble::kernels<>()) {
  require_text(config, text);
  const bit_budget_detail::Choices choices(config, tensors, fixed, budget);
  choices.require_room();
  const std::uint64_t limit = choices.limit();
  const auto room_for = [&](const auto& smallest) {
    return choices.bytes(smallest) + (limit - choices.size(smallest));
  };
  const auto costs =
      bit_budget_detail::format_costs(config, tensors, choices, room_for(choices.smallest()), text,
                                      budget, pool, progress, kernels);
  choices.require_room(costs);
  const std::vector<std::size_t> smallest = choices.smallest(costs);
  const std::uint64_t least = choices.bytes(smallest);
  std::uint64_t room = room_for(smallest);
  std::vector<std::size_t> choice = allocate_bits(costs, room);
  // The header of a file, which names the formats, depends a little on the choice.
  std::uint64_t size = choices.size(choice);
  while (size > limit && room > least) {
    room -= std::min(size - limit, room - least);
    choice = allocate_bits(costs, room);
    size = choices.size(choice);
  }
  if (size > limit) choice = smallest;

  BudgetedRecipe result{choices.recipe(choice), {}, choices.bits_per_weight(choice)};
  for (std::size_t i = 0; i < choice.size(); ++i) {
    const TensorSpec& linear = choices.linears()[i];
    const FormatCost& cost = costs[i][choice[i]];
    result.tensors.push_back(
        {linear.name, budget.candidates[choice[i]],
         8 * static_cast<double>(cost.bytes) /
             (static_cast<double>(linear.rows) * static_cast<double>(linear.cols)),
         cost.loss});
  }
  return result;
}

}  // namespace nibble
