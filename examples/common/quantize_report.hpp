// What nibble-quantize says of its tensors, of the formats it chose and of the result.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <nibble/model/bit_budget.hpp>
#include <nibble/model/quantize_model.hpp>

#include "common/console.hpp"
#include "common/report.hpp"

namespace nibble::example {

/// The damping that a recipe asks for, relative to the mean of the Hessian's diagonal; 0 where its
/// method has none.
[[nodiscard]] inline double wanted_damping(const Recipe& recipe, const TensorReport& report) {
  const RecipeRule* rule = recipe.find(report.tensor);
  return rule == nullptr ? 0 : quantizer_options(rule->method).value("damping", 0.0);
}

/// Whether it took more damping than that to factor the Hessian.
[[nodiscard]] inline bool damping_was_raised(const Recipe& recipe, const TensorReport& report) {
  return report.calibration.relative_damping > 1.5 * std::max(wanted_damping(recipe, report), 1e-6);
}

/// One line for each calibrated tensor, on stderr.
inline void show_reports(Console& console, const Recipe& recipe,
                         const std::vector<TensorReport>& reports) {
  if (reports.empty()) return;
  Table table{{"tensor", "method", "format", "error", "of rtn's", "rtn rows", "damping", "exponent",
               "seconds"}};
  for (const TensorReport& report : reports) {
    const CalibrationReport& result = report.calibration;
    const bool known = result.errors_known();
    table.push_back({report.tensor, report.method, describe_format(report.format),
                     known ? significant(result.error) : "-",
                     known && result.nearest_error > 0
                         ? fixed(100 * result.error / result.nearest_error, 1) + " %"
                         : "-",
                     concat(result.nearest_rows),
                     known ? significant(result.relative_damping) : "-", fixed(result.exponent, 2),
                     fixed(report.seconds, 2)});
  }
  std::string text = aligned_table(table);
  text.pop_back();  // the last line's end
  console.note(text);
  for (const TensorReport& report : reports) {
    if (!damping_was_raised(recipe, report)) continue;
    console.note(concat(report.tensor, ": damping raised from ",
                        significant(wanted_damping(recipe, report)), " to ",
                        significant(report.calibration.relative_damping),
                        " of the diagonal's mean; a longer text may do without"));
  }
}

[[nodiscard]] inline Json reports_json(const std::vector<TensorReport>& reports) {
  Json json = Json::array();
  for (const TensorReport& report : reports) {
    const bool known = report.calibration.errors_known();
    json.push_back({{"tensor", report.tensor},
                    {"method", report.method},
                    {"format", describe_format(report.format)},
                    {"error", known ? Json(report.calibration.error) : Json()},
                    {"rtn_error", known ? Json(report.calibration.nearest_error) : Json()},
                    {"rtn_rows", report.calibration.nearest_rows},
                    {"damping", report.calibration.relative_damping},
                    {"exponent", report.calibration.exponent},
                    {"seconds", report.seconds}});
  }
  return json;
}

/// What a model has of one format.
struct Share {
  Index matrices = 0;
  double weights = 0;
  std::uint64_t bytes = 0;
};

[[nodiscard]] inline std::map<std::string, Share> shares(const ModelConfig& config,
                                                         const TensorProvider& tensors) {
  std::map<std::string, Share> by_format;
  for (const TensorSpec& spec : tensor_specs(config)) {
    if (spec.role == TensorRole::Vector) continue;
    const AnyFormat format = tensors.format(spec);
    Share& share = by_format[describe_format(format)];
    ++share.matrices;
    share.weights += static_cast<double>(spec.rows) * static_cast<double>(spec.cols);
    share.bytes += packed_bytes(format, spec.rows, spec.cols);
  }
  return by_format;
}

/// The formats that were chosen, on stderr.
inline void show_choice(Console& console, const BudgetedRecipe& choice) {
  Table table{{"tensor", "format", "bits/weight", "KL divergence"}};
  for (const BudgetedTensor& tensor : choice.tensors) {
    table.push_back({tensor.tensor, describe_format(tensor.format),
                     fixed(tensor.bits_per_weight, 3), significant(tensor.kl_divergence)});
  }
  std::string text = aligned_table(table);
  text.pop_back();  // the last line's end
  console.note(text);
}

[[nodiscard]] inline Json choice_json(const BudgetedRecipe& choice) {
  Json tensors = Json::array();
  for (const BudgetedTensor& tensor : choice.tensors) {
    tensors.push_back({{"tensor", tensor.tensor},
                       {"format", describe_format(tensor.format)},
                       {"bits_per_weight", tensor.bits_per_weight},
                       {"kl_divergence", tensor.kl_divergence}});
  }
  return {{"bits_per_weight", choice.bits_per_weight}, {"tensors", tensors}};
}

[[nodiscard]] inline Json evaluation_json(const std::filesystem::path& text, Index window,
                                          const Evaluation& result) {
  return {{"text", path_text(text)},
          {"window", window},
          {"windows", result.windows},
          {"tokens", result.tokens},
          {"perplexity_before", result.reference_perplexity},
          {"perplexity", result.perplexity},
          {"kl_divergence", result.kl_divergence},
          {"top1_agreement", result.top1_agreement}};
}

}  // namespace nibble::example
