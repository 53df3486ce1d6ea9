// The dimensions of well-known models, for measurements that need no weights of theirs.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/model/model_config.hpp>

namespace nibble::example {

/// What a model's speed depends on.
struct Shape {
  std::string_view name;
  std::string_view model_type;
  Index vocab_size;
  Index hidden_size;
  Index layers;
  Index heads;
  Index kv_heads;
  Index head_dim;
  Index intermediate_size;
  Index max_positions;
  bool tied_head;
  bool qkv_bias;
};

/// As in the config.json that each was published with.
inline constexpr std::array<Shape, 6> shapes{{
    {"tinyllama-1.1b", "llama", 32000, 2048, 22, 32, 4, 64, 5632, 2048, false, false},
    {"llama-3.2-1b", "llama", 128256, 2048, 16, 32, 8, 64, 8192, 131072, true, false},
    {"qwen2.5-1.5b", "qwen2", 151936, 1536, 28, 12, 2, 128, 8960, 131072, true, true},
    {"llama-3.2-3b", "llama", 128256, 3072, 28, 24, 8, 128, 8192, 131072, true, false},
    {"llama-2-7b", "llama", 32000, 4096, 32, 32, 32, 128, 11008, 4096, false, false},
    {"llama-3.1-8b", "llama", 128256, 4096, 32, 32, 8, 128, 14336, 131072, false, false},
}};

[[nodiscard]] inline std::vector<std::string> shape_names() {
  std::vector<std::string> names;
  for (const Shape& shape : shapes) names.emplace_back(shape.name);
  return names;
}

/// A model of that shape. Throws Error for an unknown name.
[[nodiscard]] inline ModelConfig shape_config(std::string_view name) {
  const auto* shape = std::ranges::find(shapes, name, &Shape::name);
  if (shape == shapes.end()) fail("unknown shape '", name, "'");
  ModelConfig config;
  config.model_type = shape->model_type;
  config.vocab_size = shape->vocab_size;
  config.hidden_size = shape->hidden_size;
  config.layers = shape->layers;
  config.heads = shape->heads;
  config.kv_heads = shape->kv_heads;
  config.head_dim = shape->head_dim;
  config.intermediate_size = shape->intermediate_size;
  config.max_positions = shape->max_positions;
  config.rms_norm_eps = 1e-5F;
  config.tied_head = shape->tied_head;
  config.q_bias = config.k_bias = config.v_bias = shape->qkv_bias;
  config.sliding_windows.assign(static_cast<std::size_t>(shape->layers), 0);
  return config;
}

}  // namespace nibble::example
