// RopeConfig: which rotary position embedding a model uses, and how config.json spells it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/json.hpp>

namespace nibble {

/// How the rotation frequencies theta^(-2i/head_dim) are changed.
enum class RopeKind : std::uint8_t {
  unscaled,  // "default"
  linear,    // all divided by `factor`
  llama3,    // the slow ones divided by `factor`, blended in between (Llama 3.1)
};

/// Rotary position embedding (Su et al., RoFormer), halves rotated against each other.
struct RopeConfig {
  RopeKind kind = RopeKind::unscaled;
  double theta = 10000;
  double factor = 1;  // linear, llama3
  // llama3 alone: wavelengths above original_max_positions / low_freq_factor are divided, below
  // original_max_positions / high_freq_factor kept.
  double low_freq_factor = 1;
  double high_freq_factor = 4;
  Index original_max_positions = 0;

  friend bool operator==(const RopeConfig&, const RopeConfig&) = default;
};

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

/// One set of parameters: v4's rope_scaling or v5's rope_parameters.
[[nodiscard]] inline RopeConfig parse_rope_object(const nlohmann::json& rope, RopeConfig result,
                                                  std::string_view source) {
  const auto type = json_optional<std::string>(rope, "rope_type", source);
  const auto old_type = json_optional<std::string>(rope, "type", source);
  if (type && old_type && *type != *old_type) {
    fail(json_where(source, "type"), ": expected ", in_quotes(*type), " as in 'rope_type', found ",
         in_quotes(*old_type));
  }
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
  const auto positive = [&](std::string_view key, double value) {
    if (!(value > 0)) fail(json_where(source, key), ": expected more than 0, found ", value);
    return value;
  };
  if (const auto theta = json_optional<double>(rope, "rope_theta", source)) {
    result.theta = positive("rope_theta", *theta);
  }
  if (result.kind == RopeKind::unscaled) return result;
  result.factor = positive("factor", json_field<double>(rope, "factor", source));
  if (result.kind == RopeKind::linear) return result;
  const auto low = json_field<double>(rope, "low_freq_factor", source);
  const auto high = json_field<double>(rope, "high_freq_factor", source);
  result.low_freq_factor = positive("low_freq_factor", low);
  result.high_freq_factor = positive("high_freq_factor", high);
  if (high <= low) {
    fail(json_where(source, "high_freq_factor"), ": expected more than low_freq_factor ", low,
         ", found ", high);
  }
  result.original_max_positions =
      json_field<Index>(rope, "original_max_position_embeddings", source, 1, Index{1} << 30);
  return result;
}

}  // namespace detail

/// Reads the RoPE of a config.json: rope_theta and rope_scaling (transformers 4), rope_parameters
/// (transformers 5, flat or the same for each kind of layer). Throws `Error` for other kinds and
/// for parameters that are missing, not positive or contradict each other.
[[nodiscard]] inline RopeConfig parse_rope_config(const nlohmann::json& config,
                                                  std::string_view source) {
  RopeConfig base;
  const auto theta = json_optional<double>(config, "rope_theta", source);
  if (theta) {
    if (!(*theta > 0)) {
      fail(json_where(source, "rope_theta"), ": expected more than 0, found ", *theta);
    }
    base.theta = *theta;
  }
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
