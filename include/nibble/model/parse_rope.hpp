// How a config.json spells the rotary position embedding that a model uses.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/json.hpp>
#include <nibble/nn/rope.hpp>

namespace nibble {

namespace detail {

/// Throws where `config` has `key` with another value than `neutral`, which stands for "only absent
/// or null" if it is null.
inline void refuse_other_values(const nlohmann::json& config, std::string_view key,
                                const nlohmann::json& neutral, std::string_view source) {
  const nlohmann::json* value = json_find(config, key, source);
  if (value == nullptr || *value == neutral) return;
  fail(json_where(source, key), ": found ", describe_json(*value), ", nibble supports only ",
       neutral.is_null() ? std::string("models without it") : neutral.dump());
}

/// A number from `minimum` to `maximum`, both included.
[[nodiscard]] inline double json_within(const nlohmann::json& object, std::string_view key,
                                        double minimum, double maximum, std::string_view source) {
  const auto value = json_field<double>(object, key, source);
  if (!(value >= minimum && value <= maximum)) {
    fail(json_where(source, key), ": expected a number from ", minimum, " to ", maximum, ", found ",
         value);
  }
  return value;
}

/// rope_theta, where it is there.
[[nodiscard]] inline std::optional<double> parse_rope_theta(const nlohmann::json& object,
                                                            std::string_view source) {
  if (json_find(object, "rope_theta", source) == nullptr) return std::nullopt;
  return json_within(object, "rope_theta", 1, 1e15, source);
}

/// One set of parameters: v4's rope_scaling or v5's rope_parameters.
[[nodiscard]] inline RopeConfig parse_rope_object(const nlohmann::json& rope, RopeConfig result,
                                                  std::string_view source) {
  const auto type = json_optional<std::string>(rope, "rope_type", source);
  const auto old_type = json_optional<std::string>(rope, "type", source);
  if (type && old_type && *type != *old_type) {
    fail(json_where(source, "type"), ": expected ", in_quotes(*type), " as in 'rope_type', found ",
         in_quotes(*old_type));
  }
  if (!type && !old_type) refuse_other_values(rope, "factor", nullptr, source);
  const std::string kind = type ? *type : old_type.value_or("default");
  if (kind == "default") {
    result.kind = RopeKind::unscaled;
  } else if (kind == "linear") {
    result.kind = RopeKind::linear;
  } else if (kind == "llama3") {
    result.kind = RopeKind::llama3;
  } else {
    fail(json_where(source, type ? "rope_type" : "type"),
         ": expected default, linear or llama3, found ", in_quotes(kind));
  }
  refuse_other_values(rope, "partial_rotary_factor", 1, source);
  refuse_other_values(rope, "mrope_section", nullptr, source);
  result.theta = parse_rope_theta(rope, source).value_or(result.theta);
  if (result.kind == RopeKind::unscaled) return result;
  const auto factor = [&](std::string_view key) {
    return json_within(rope, key, 1e-3, 1e6, source);
  };
  result.factor = factor("factor");
  if (result.kind == RopeKind::linear) return result;
  result.low_freq_factor = factor("low_freq_factor");
  result.high_freq_factor = factor("high_freq_factor");
  if (result.high_freq_factor <= result.low_freq_factor) {
    fail(json_where(source, "high_freq_factor"), ": expected more than low_freq_factor ",
         result.low_freq_factor, ", found ", result.high_freq_factor);
  }
  result.original_max_positions =
      json_field<Index>(rope, "original_max_position_embeddings", source, 1, Index{1} << 30);
  return result;
}

}  // namespace detail

/// Reads the RoPE of a config.json: rope_theta and rope_scaling (transformers 4), rope_parameters
/// (transformers 5, flat or the same for each kind of layer). Throws `Error` for other kinds and
/// for parameters that are missing, out of range or contradict each other.
[[nodiscard]] inline RopeConfig parse_rope_config(const nlohmann::json& config,
                                                  std::string_view source) {
  RopeConfig base;
  const auto theta = detail::parse_rope_theta(config, source);
  base.theta = theta.value_or(base.theta);
  std::optional<RopeConfig> result;
  const auto merge = [&](const nlohmann::json& rope, const std::string& where) {
    const RopeConfig parsed = detail::parse_rope_object(rope, base, where);
    if (result && parsed != *result) {
      fail(where, ": contradicts the other parameters of RoPE, and nibble supports one set");
    }
    if (theta && parsed.theta != *theta) {
      fail(where, ": rope_theta ", parsed.theta, " contradicts rope_theta ", *theta, " beside it");
    }
    result = parsed;
  };
  for (const std::string_view key : {"rope_parameters", "rope_scaling"}) {
    const nlohmann::json* rope = json_find(config, key, source);
    if (rope == nullptr) continue;
    const std::string where = concat(source, ": ", key);
    bool nested = false;  // one object for each kind of layer
    for (const std::string_view layers : {"full_attention", "sliding_attention"}) {
      if (const nlohmann::json* part = json_find(*rope, layers, where)) {
        nested = true;
        merge(*part, concat(where, ": ", layers));
      }
    }
    if (!nested) merge(*rope, where);
  }
  return result.value_or(base);
}

}  // namespace nibble
