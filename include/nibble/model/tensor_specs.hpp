// Which tensors a model of a given configuration has, under their Hugging Face names.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/model/model_config.hpp>

namespace nibble {

/// What a tensor is to the model.
enum class TensorRole {
  Embedding,  // token embedding, and the output head where it is tied
  Head,       // a separate output head
  Linear,     // a weight of a decoder block: what quantization is about
  Vector,     // a norm's weight or a bias, kept in float32
};

/// A tensor's name and shape; a vector has one row.
struct TensorSpec {
  std::string name;
  TensorRole role = TensorRole::Linear;
  Index rows = 0;
  Index cols = 0;
};

/// The names of the tensors outside the blocks.
inline constexpr std::string_view embedding_name = "model.embed_tokens.weight";
inline constexpr std::string_view final_norm_name = "model.norm.weight";
inline constexpr std::string_view head_name = "lm_head.weight";

/// "model.layers.<layer>.<part>".
[[nodiscard]] inline std::string layer_tensor_name(Index layer, std::string_view part) {
  return concat("model.layers.", layer, ".", part);
}

/// All tensors, in the order in which a forward pass meets them.
[[nodiscard]] inline std::vector<TensorSpec> tensor_specs(const ModelConfig& config) {
  std::vector<TensorSpec> specs;
  const Index hidden = config.hidden_size;
  const Index query_width = config.heads * config.head_dim;
  const Index key_width = config.kv_heads * config.head_dim;
  const auto vector = [&](std::string name, Index size) {
    specs.push_back({std::move(name), TensorRole::Vector, 1, size});
  };
  specs.push_back({std::string(embedding_name), TensorRole::Embedding, config.vocab_size, hidden});
  for (Index layer = 0; layer < config.layers; ++layer) {
    const auto norm = [&](std::string_view part, Index size) {
      vector(layer_tensor_name(layer, concat(part, ".weight")), size);
    };
    const auto linear = [&](std::string_view part, Index rows, Index cols, bool bias) {
      specs.push_back(
          {layer_tensor_name(layer, concat(part, ".weight")), TensorRole::Linear, rows, cols});
      if (bias) vector(layer_tensor_name(layer, concat(part, ".bias")), rows);
    };
    norm("input_layernorm", hidden);
    linear("self_attn.q_proj", query_width, hidden, config.q_bias);
    linear("self_attn.k_proj", key_width, hidden, config.k_bias);
    linear("self_attn.v_proj", key_width, hidden, config.v_bias);
    if (config.qk_norm) {
      norm("self_attn.q_norm", config.head_dim);
      norm("self_attn.k_norm", config.head_dim);
    }
    linear("self_attn.o_proj", hidden, query_width, config.o_bias);
    norm("post_attention_layernorm", hidden);
    linear("mlp.gate_proj", config.intermediate_size, hidden, config.mlp_bias);
    linear("mlp.up_proj", config.intermediate_size, hidden, config.mlp_bias);
    linear("mlp.down_proj", hidden, config.intermediate_size, config.mlp_bias);
  }
  vector(std::string(final_norm_name), hidden);
  if (!config.tied_head) {
    specs.push_back({std::string(head_name), TensorRole::Head, config.vocab_size, hidden});
  }
  return specs;
}

}  // namespace nibble
