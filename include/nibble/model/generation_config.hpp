// GenerationDefaults: how a model's authors suggest to sample from it (generation_config.json).
#pragma once

#include <limits>
#include <optional>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/token_id.hpp>
#include <nibble/io/json.hpp>
#include <nibble/model/model_config.hpp>

namespace nibble {

/// What the file says; a field that it leaves out is empty.
struct GenerationDefaults {
  std::vector<TokenId> eos_ids;      // any of them ends the text; where empty, ModelConfig's count
  std::optional<bool> do_sample;     // false: greedy, whatever the fields below
  std::optional<float> temperature;  // >= 0
  std::optional<Index> top_k;        // 0: no limit
  std::optional<float> top_p;        // above 0, up to 1
  std::optional<float> min_p;        // from 0 to 1
  std::optional<float> repetition_penalty;  // above 0; 1: none
};

/// Reads a generation_config.json; unknown keys are ignored. Throws `Error`, naming `source` and
/// the field, for a value outside the ranges above.
[[nodiscard]] inline GenerationDefaults parse_generation_defaults(const nlohmann::json& config,
                                                                  std::string_view source) {
  const auto number = [&](std::string_view key, bool zero_allowed, float limit) {
    const auto value = json_optional<float>(config, key, source);
    if (value && !(*value <= limit && (*value > 0 || (zero_allowed && *value == 0)))) {
      fail(json_where(source, key), ": expected ", zero_allowed ? "at least" : "more than",
           " 0 and at most ", limit, ", found ", *value);
    }
    return value;
  };
  constexpr float unlimited = std::numeric_limits<float>::max();
  GenerationDefaults defaults;
  defaults.eos_ids = detail::parse_token_ids(config, "eos_token_id", source);
  defaults.do_sample = json_optional<bool>(config, "do_sample", source);
  defaults.temperature = number("temperature", true, unlimited);
  defaults.top_k =
      json_optional<Index>(config, "top_k", source, -1, std::numeric_limits<Index>::max());
  if (defaults.top_k == -1) defaults.top_k = 0;  // another spelling of "no limit"
  defaults.top_p = number("top_p", false, 1);
  defaults.min_p = number("min_p", true, 1);
  defaults.repetition_penalty = number("repetition_penalty", false, unlimited);
  return defaults;
}

}  // namespace nibble
