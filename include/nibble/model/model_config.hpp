// ModelConfig: an architecture by flags, read from the config.json of a Hugging Face folder.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/token_id.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/json.hpp>
#include <nibble/kernels/kv_page.hpp>
#include <nibble/model/parse_rope.hpp>

namespace nibble {

/// A decoder-only transformer: RMSNorm, grouped-query attention with RoPE, SiLU-gated feed-forward.
/// Every size is positive and within `config_limits`.
struct ModelConfig {
  std::string model_type;       // "llama", "mistral", "qwen2", "qwen3"
  Index hidden_size = 0;        // width of the residual stream
  Index intermediate_size = 0;  // rows of gate_proj and up_proj
  Index layers = 0;
  Index heads = 0;     // of queries; q_proj has heads * head_dim rows
  Index kv_heads = 0;  // of keys and values; divides heads
  Index head_dim = 0;  // even; heads * head_dim need not be hidden_size
  Index vocab_size = 0;
  Index max_positions = 0;  // trained context length
  float rms_norm_eps = 0;
  RopeConfig rope;
  bool q_bias = false, k_bias = false, v_bias = false, o_bias = false;
  bool mlp_bias = false;   // on gate_proj, up_proj and down_proj
  bool qk_norm = false;    // RMSNorm over each head's query and key, before RoPE
  bool tied_head = false;  // lm_head is the embedding
  // [layers]: how many positions a query sees, its own included; 0: all before it.
  std::vector<Index> sliding_windows;
  std::vector<TokenId> bos_ids, eos_ids;  // may be empty
  bool is_nibble = false;  // quantization_config names nibble: weights are in its own formats
};

/// Largest sizes that `parse_model_config` accepts, beyond every model there is.
struct ConfigLimits {
  Index hidden_size = Index{1} << 20;
  Index intermediate_size = Index{1} << 22;
  Index layers = 4096;
  Index heads = Index{1} << 16;
  Index head_dim = max_head_dim;
  Index attention_width = Index{1} << 24;  // heads * head_dim
  Index vocab_size = Index{1} << 24;
  Index max_positions = Index{1} << 30;
};
inline constexpr ConfigLimits config_limits;

namespace detail {

/// What sets the architectures apart.
struct Architecture {
  enum class Window : std::uint8_t { never, always, by_layer };

  std::string_view model_type;
  std::string_view class_name;  // as in "architectures"
  bool qkv_bias;                // always there
  bool reads_attention_bias;    // the key puts biases on q, k, v and o
  bool reads_mlp_bias;
  bool qk_norm;
  Window window;
  Index head_dim;  // where the key is absent; 0: hidden_size / heads
};

inline constexpr std::array architectures = {
    Architecture{"llama", "LlamaForCausalLM", false, true, true, false, Architecture::Window::never,
                 0},
    Architecture{"mistral", "MistralForCausalLM", false, false, false, false,
                 Architecture::Window::always, 0},
    Architecture{"qwen2", "Qwen2ForCausalLM", true, false, false, false,
                 Architecture::Window::by_layer, 0},
    Architecture{"qwen3", "Qwen3ForCausalLM", false, true, false, true,
                 Architecture::Window::by_layer, 128},
};

[[nodiscard]] inline const Architecture& find_architecture(const nlohmann::json& config,
                                                           std::string_view source) {
  const auto type = json_field<std::string>(config, "model_type", source);
  const auto place = std::ranges::find(architectures, type, &Architecture::model_type);
  if (place == architectures.end()) {
    fail(json_where(source, "model_type"), ": expected llama, mistral, qwen2 or qwen3, found ",
         in_quotes(type));
  }
  if (const auto classes = json_optional<std::vector<std::string>>(config, "architectures", source);
      classes && !classes->empty() &&
      std::ranges::find(*classes, place->class_name) == classes->end()) {
    fail(json_where(source, "architectures"), ": expected ", place->class_name, ", found ",
         in_quotes(classes->front()));
  }
  return *place;
}

/// Keys of other architectures and of forks that change the result, with the value that does not
/// (null: only absent or null).
[[nodiscard]] inline std::vector<std::pair<std::string_view, nlohmann::json>> neutral_values() {
  return {
      {"pretraining_tp", 1},
      {"partial_rotary_factor", 1},
      {"rotary_pct", 1},
      {"rope_interleaved", false},
      {"is_encoder_decoder", false},
      {"is_causal", true},
      {"use_bidirectional_attention", false},
      {"use_mrope", false},
      {"use_qk_norm", false},
      {"qk_layernorm", false},
      {"embedding_multiplier", 1},
      {"residual_multiplier", 1},
      {"logits_scaling", 1},
      {"logit_scale", 1},
      {"attention_multiplier", nullptr},
      {"query_pre_attn_scalar", nullptr},
      {"attn_logit_softcapping", nullptr},
      {"final_logit_softcapping", nullptr},
      {"clip_qkv", nullptr},
      {"attention_chunk_size", nullptr},
      {"no_rope_layers", nullptr},
      {"num_experts", 0},
      {"num_local_experts", 0},
      {"compression_config", nullptr},
  };
}

/// Whether the weights are nibble's own; refuses other methods.
[[nodiscard]] inline bool parse_quantization(const nlohmann::json& config,
                                             std::string_view source) {
  const nlohmann::json* quantization = json_find(config, "quantization_config", source);
  if (quantization == nullptr) return false;
  const std::string where = concat(source, ": quantization_config");
  const auto method = json_field<std::string>(*quantization, "quant_method", where);
  if (method != "nibble") {
    fail(json_where(where, "quant_method"), ": expected \"nibble\" or an unquantized model, found ",
         in_quotes(method));
  }
  return true;
}

/// [layers]: positions that a query sees, 0 for all.
[[nodiscard]] inline std::vector<Index> parse_windows(const nlohmann::json& config,
                                                      const Architecture& architecture,
                                                      const ModelConfig& model,
                                                      std::string_view source) {
  using Window = Architecture::Window;
  const auto where = [&](std::string_view key) { return json_where(source, key); };
  constexpr Index absent_window = 4096;  // of the reference implementation
  Index window = 0;
  if (config.contains("sliding_window")) {
    window = json_optional<Index>(config, "sliding_window", source, 1, config_limits.max_positions)
                 .value_or(0);
  } else if (architecture.window != Window::never) {
    window = absent_window;
  }
  if (architecture.window == Window::by_layer &&
      !json_optional<bool>(config, "use_sliding_window", source).value_or(false)) {
    window = 0;
  }
  if (architecture.window == Window::never && window != 0) {
    if (window < model.max_positions) {
      fail(where("sliding_window"), ": found ", window, ", which model_type ", model.model_type,
           " does not define");
    }
    window = 0;
  }
  Index first = 0;  // sliding layer, the earlier ones see everything
  if (architecture.window == Window::by_layer && window != 0) {
    constexpr Index absent_layers = 28;  // of the reference implementation
    first = json_optional<Index>(config, "max_window_layers", source, 0,
                                 std::numeric_limits<Index>::max())
                .value_or(absent_layers);
  }
  std::vector<Index> windows(static_cast<std::size_t>(model.layers), 0);
  for (Index layer = first; layer < model.layers; ++layer) {
    windows[static_cast<std::size_t>(layer)] = window;
  }

  const auto types = json_optional<std::vector<std::string>>(config, "layer_types", source);
  if (!types) return windows;
  if (types->size() != windows.size()) {
    fail(where("layer_types"), ": ", types->size(), " elements, expected ", windows.size());
  }
  for (std::size_t layer = 0; layer < windows.size(); ++layer) {
    const std::string& type = (*types)[layer];
    const bool sliding = type == "sliding_attention";
    const std::string element = concat(where("layer_types"), " element ", layer);
    if (!sliding && type != "full_attention") {
      fail(element, ": expected full_attention or sliding_attention, found ", in_quotes(type));
    }
    if (sliding && window == 0) fail(element, ": sliding_attention without a sliding window");
    if (architecture.window == Window::by_layer) {
      windows[layer] = sliding ? window : 0;
    } else if (sliding != (windows[layer] != 0)) {
      fail(element, ": found ", type, ", but model_type ", model.model_type,
           " has the same attention in every layer");
    }
  }
  return windows;
}

/// A token id, a list of them, or none.
[[nodiscard]] inline std::vector<TokenId> parse_token_ids(const nlohmann::json& object,
                                                          std::string_view key,
                                                          std::string_view source) {
  constexpr TokenId most = std::numeric_limits<TokenId>::max();
  const nlohmann::json* value = json_find(object, key, source);
  if (value == nullptr) return {};
  if (!value->is_array()) return {json_field<TokenId>(object, key, source, 0, most)};
  std::vector<TokenId> ids;
  for (const auto& element : *value) {
    ids.push_back(json_integer<TokenId>(
        element, concat(json_where(source, key), " element ", ids.size()), 0, most));
  }
  return ids;
}

/// A flag that only some architectures have: absent is false, true elsewhere is an error.
[[nodiscard]] inline bool parse_flag(const nlohmann::json& config, std::string_view key,
                                     bool defined, std::string_view model_type,
                                     std::string_view source) {
  const bool value = json_optional<bool>(config, key, source).value_or(false);
  if (value && !defined) {
    fail(json_where(source, key), ": found true, which model_type ", model_type,
         " does not define");
  }
  return value;
}

}  // namespace detail

/// Reads a config.json in the spelling of transformers 4 or 5. Unknown keys are ignored; what would
/// change the results and is not supported is refused: other architectures and activations, other
/// kinds of RoPE (yarn, dynamic, longrope), weights quantized by other methods, and sizes that are
/// not positive, beyond `config_limits` or contradict each other. Throws `Error`, naming `source`
/// and the field.
[[nodiscard]] inline ModelConfig parse_model_config(const nlohmann::json& config,
                                                    std::string_view source) {
  const detail::Architecture& architecture = detail::find_architecture(config, source);
  for (const auto& [key, neutral] : detail::neutral_values()) {
    detail::refuse_other_values(config, key, neutral, source);
  }
  detail::refuse_other_values(config, "hidden_act", "silu", source);

  ModelConfig model;
  model.model_type = architecture.model_type;
  model.is_nibble = detail::parse_quantization(config, source);
  const auto size = [&](std::string_view key, Index limit) {
    return json_field<Index>(config, key, source, 1, limit);
  };
  model.hidden_size = size("hidden_size", config_limits.hidden_size);
  model.intermediate_size = size("intermediate_size", config_limits.intermediate_size);
  model.layers = size("num_hidden_layers", config_limits.layers);
  model.heads = size("num_attention_heads", config_limits.heads);
  model.kv_heads = json_optional<Index>(config, "num_key_value_heads", source, 1, model.heads)
                       .value_or(model.heads);
  if (model.heads % model.kv_heads != 0) {
    fail(json_where(source, "num_key_value_heads"), ": expected a divisor of num_attention_heads ",
         model.heads, ", found ", model.kv_heads);
  }
  if (const auto head_dim =
          json_optional<Index>(config, "head_dim", source, 1, config_limits.head_dim)) {
    model.head_dim = *head_dim;
  } else if (architecture.head_dim != 0) {
    model.head_dim = architecture.head_dim;
  } else if (model.hidden_size % model.heads == 0) {
    model.head_dim = model.hidden_size / model.heads;
  } else {
    fail(json_where(source, "hidden_size"), ": expected a multiple of num_attention_heads ",
         model.heads, ", found ", model.hidden_size);
  }
  if (model.head_dim % 2 != 0 || model.head_dim > config_limits.head_dim) {
    fail(json_where(source, "head_dim"), ": expected an even number up to ", config_limits.head_dim,
         ", found ", model.head_dim);
  }
  if (model.heads * model.head_dim > config_limits.attention_width) {
    fail(json_where(source, "num_attention_heads"), ": ", model.heads, " heads of ", model.head_dim,
         " are ", model.heads * model.head_dim, " wide, expected at most ",
         config_limits.attention_width);
  }
  model.vocab_size = size("vocab_size", config_limits.vocab_size);
  model.max_positions = size("max_position_embeddings", config_limits.max_positions);
  // The largest matrix, as float32, must fit the address space (32 bits in WebAssembly).
  const auto largest = static_cast<std::uint64_t>(
      std::max({model.vocab_size, model.intermediate_size, Index{model.heads * model.head_dim}}));
  if (largest * static_cast<std::uint64_t>(model.hidden_size) * sizeof(float) >
      static_cast<std::uint64_t>(std::numeric_limits<Index>::max())) {
    fail(json_where(source, "hidden_size"), ": ", model.hidden_size, " x ", largest,
         " weights exceed the address space");
  }

  constexpr float absent_eps = 1e-6F;  // of the reference implementations
  model.rms_norm_eps = json_optional<float>(config, "rms_norm_eps", source).value_or(absent_eps);
  if (!(model.rms_norm_eps > 0 && model.rms_norm_eps < 1)) {
    fail(json_where(source, "rms_norm_eps"), ": expected a number between 0 and 1, found ",
         model.rms_norm_eps);
  }
  model.rope = parse_rope_config(config, source);

  const auto flag = [&](std::string_view key, bool defined) {
    return detail::parse_flag(config, key, defined, model.model_type, source);
  };
  const bool attention_bias = flag("attention_bias", architecture.reads_attention_bias);
  model.q_bias = model.k_bias = model.v_bias = attention_bias || architecture.qkv_bias;
  model.o_bias = attention_bias;
  model.mlp_bias = flag("mlp_bias", architecture.reads_mlp_bias);
  model.qk_norm = architecture.qk_norm;
  model.tied_head = flag("tie_word_embeddings", true);
  model.sliding_windows = detail::parse_windows(config, architecture, model, source);
  model.bos_ids = detail::parse_token_ids(config, "bos_token_id", source);
  model.eos_ids = detail::parse_token_ids(config, "eos_token_id", source);
  return model;
}

}  // namespace nibble
