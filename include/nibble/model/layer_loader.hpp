// Builds the layers of a decoder from a model's tensors.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/progress.hpp>
#include <nibble/model/model_config.hpp>
#include <nibble/model/tensor_provider.hpp>
#include <nibble/nn/attention_layer.hpp>
#include <nibble/nn/feed_forward.hpp>

namespace nibble {

/// One block of the decoder.
struct DecoderLayer {
  RmsNorm input_norm;
  AttentionLayer attention;
  RmsNorm post_attention_norm;
  FeedForward feed_forward;
};

/// Takes a model's tensors from a provider by name and makes layers of them.
class LayerLoader {
 public:
  /// Borrows everything; `progress` counts the tensors.
  LayerLoader(const ModelConfig& config, const TensorProvider& tensors, ExecutorRef pool,
              const Progress& progress)
      : config_(config), tensors_(tensors), pool_(pool), progress_(progress) {
    for (TensorSpec& spec : tensor_specs(config)) specs_.emplace(spec.name, spec);
  }

  [[nodiscard]] AnyMatrix matrix(std::string_view name) {
    const TensorSpec& spec = next(name);
    AnyMatrix matrix = tensors_.matrix(spec, pool_);
    if (matrix.rows() != spec.rows || matrix.cols() != spec.cols) {
      fail("tensor '", spec.name, "': expected ", spec.rows, " x ", spec.cols, ", found ",
           matrix.rows(), " x ", matrix.cols());
    }
    return matrix;
  }
  [[nodiscard]] std::vector<float> vector(std::string_view name) {
    const TensorSpec& spec = next(name);
    std::vector<float> vector = tensors_.vector(spec);
    if (static_cast<Index>(vector.size()) != spec.cols) {
      fail("tensor '", spec.name, "': expected ", spec.cols, " numbers, found ", vector.size());
    }
    return vector;
  }
  [[nodiscard]] RmsNorm norm(std::string_view name) {
    return RmsNorm(vector(name), config_.rms_norm_eps);
  }
  [[nodiscard]] DecoderLayer layer(Index index) {
    const auto name = [&](std::string_view part) { return layer_tensor_name(index, part); };
    const auto linear = [&](std::string_view part) {
      AnyMatrix weight = matrix(name(concat(part, ".weight")));
      const std::string bias = name(concat(part, ".bias"));
      return Linear(std::move(weight), specs_.contains(bias) ? vector(bias) : std::vector<float>{});
    };
    const auto head_norm = [&](std::string_view part) -> std::optional<RmsNorm> {
      if (!config_.qk_norm) return std::nullopt;
      return norm(name(part));
    };
    const AttentionShape shape{config_.heads, config_.kv_heads, config_.head_dim,
                               config_.sliding_windows[static_cast<std::size_t>(index)]};
    // Braces: the tensors are taken in this order.
    return DecoderLayer{
        norm(name("input_layernorm.weight")),
        AttentionLayer{shape, linear("self_attn.q_proj"), linear("self_attn.k_proj"),
                       linear("self_attn.v_proj"), linear("self_attn.o_proj"),
                       head_norm("self_attn.q_norm.weight"), head_norm("self_attn.k_norm.weight")},
        norm(name("post_attention_layernorm.weight")),
        FeedForward{linear("mlp.gate_proj"), linear("mlp.up_proj"), linear("mlp.down_proj")}};
  }

 private:
  [[nodiscard]] const TensorSpec& next(std::string_view name) {
    report(progress_, name, done_++, static_cast<Index>(specs_.size()));
    return specs_.find(name)->second;
  }

  const ModelConfig& config_;
  const TensorProvider& tensors_;
  ExecutorRef pool_;
  const Progress& progress_;
  std::map<std::string, TensorSpec, std::less<>> specs_;
  Index done_ = 0;
};

}  // namespace nibble
