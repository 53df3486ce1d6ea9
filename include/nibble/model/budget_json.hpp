// A budget of bits, and the formats that were chosen for it, as JSON.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include <nibble/io/json.hpp>
#include <nibble/model/bit_budget.hpp>
#include <nibble/model/format_json.hpp>
#include <nibble/model/quantizer_json.hpp>

namespace nibble {

/// Everything that a choice depends on beside the model and the text.
[[nodiscard]] inline nlohmann::json budget_to_json(const BitBudget& budget) {
  nlohmann::json candidates = nlohmann::json::array();
  for (const AnyFormat& format : budget.candidates) candidates.push_back(format_to_json(format));
  nlohmann::json json{{"method", std::string(quantizer_name(budget.method))},
                      {"options", quantizer_options(budget.method)},
                      {"candidates", std::move(candidates)},
                      {"samples", budget.samples},
                      {"probe_tokens", budget.probe_tokens}};
  if (budget.file_size) {
    json["file_size"] = *budget.file_size;
  } else {
    json["bits_per_weight"] = budget.bits_per_weight;
  }
  return json;
}

/// What `choice_from_json` reads, exact to the last bit.
[[nodiscard]] inline nlohmann::json choice_to_json(const BudgetedRecipe& choice) {
  nlohmann::json tensors = nlohmann::json::array();
  for (const BudgetedTensor& tensor : choice.tensors) {
    nlohmann::json json = format_to_json(tensor.format);
    json["tensor"] = tensor.tensor;
    json["bits_per_weight"] = tensor.bits_per_weight;
    json["kl_divergence"] = tensor.kl_divergence;
    tensors.push_back(std::move(json));
  }
  return {{"recipe", recipe_to_json(choice.recipe)},
          {"bits_per_weight", choice.bits_per_weight},
          {"tensors", std::move(tensors)}};
}

/// What `choice_to_json` made. Throws Error, starting with `source`, for anything else.
[[nodiscard]] inline BudgetedRecipe choice_from_json(const nlohmann::json& json,
                                                     std::string_view source) {
  BudgetedRecipe choice{parse_recipe(json_at(json, "recipe", source), source),
                        {},
                        json_field<double>(json, "bits_per_weight", source)};
  const nlohmann::json& tensors = json_at(json, "tensors", source);
  const std::string where = json_where(source, "tensors");
  if (!tensors.is_array()) fail(where, ": expected an array, found ", describe_json(tensors));
  for (const nlohmann::json& tensor : tensors) {
    choice.tensors.push_back({json_field<std::string>(tensor, "tensor", where),
                              format_from_json(tensor, where),
                              json_field<double>(tensor, "bits_per_weight", where),
                              json_field<double>(tensor, "kl_divergence", where)});
  }
  return choice;
}

}  // namespace nibble
