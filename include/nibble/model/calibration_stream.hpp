// The activations of a calibration text on their way through a model, layer by layer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/model/calibration_text.hpp>
#include <nibble/model/layer_loader.hpp>
#include <nibble/model/window_store.hpp>
#include <nibble/nn/embedding.hpp>

namespace nibble {

/// All windows in one variant of the model, between two steps of one layer: the residual stream,
/// and the inputs of the Linears that come next. In float32 throughout.
class CalibrationStream {
 public:
  /// Embeds the text's windows. Borrows everything but the embedding. Where `scratch` names a
  /// directory, what is kept of windows whose turn it is not lies in files there.
  CalibrationStream(const ModelConfig& config, const Embedding& embedding,
                    const CalibrationText& text, ExecutorRef pool, const KernelTable& kernels,
                    const std::filesystem::path& scratch = {})
      : config_(config),
        window_(text.window),
        execution_{kernels, pool, ActivationMode::Float},
        pool_(std::make_shared<KvPool>(page_layout(config), page_layout(config).page_bytes() *
                                                                static_cast<std::size_t>(divide_up(
                                                                    text.window, page_positions)))),
        cache_(pool_),
        hidden_(text.windows(), window_ * config.hidden_size, scratch),
        inputs_(text.windows(), window_ * widest(config), scratch) {
    for (Index window = 0; window < text.windows(); ++window) {
      const TokenId* tokens = text.tokens.data() + window * window_;
      float* hidden = hidden_.overwrite(window);
      pool.run(window_, [&](Index i, int) {
        embedding.lookup(tokens[i], hidden + i * config_.hidden_size);
      });
      hidden_.keep(window);
    }

    const Rope rope(config.rope, config.head_dim);
    float* angles = angles_.make_room<float>(window_ * config.head_dim);
    cache_.reserve(window_);
    for (Index position = 0; position < window_; ++position) {
      float* cosines = angles + position * config.head_dim;
      float* sines = cosines + rope.size();
      rope.angles(position, cosines, sines);
      places_.push_back({&cache_, position, cosines, sines});
    }
  }

  CalibrationStream(const CalibrationStream&) = delete;
  CalibrationStream& operator=(const CalibrationStream&) = delete;

  /// A window's residual stream, normalized: [window][hidden], until the next call.
  [[nodiscard]] const float* normalize(const RmsNorm& norm, Index window) {
    float* normed = normed_.make_room<float>(window_ * config_.hidden_size);
    norm.forward(hidden_.read(window), window_, execution_, normed);
    return normed;
  }

  /// Attention up to the inputs of o_proj, which are returned and kept: [window][heads][head_dim].
  const float* mix(const DecoderLayer& layer, Index window) {
    linear_input_.assign(normalize(layer.input_norm, window), window_, config_.hidden_size,
                         config_.hidden_size);
    width_ = config_.heads * config_.head_dim;
    scales_.clear();
    float* inputs = inputs_.overwrite(window);
    layer.attention.mix(linear_input_, places_, 0, execution_, attention_, inputs);
    inputs_.keep(window);
    return inputs;
  }

  /// The feed-forward layer up to the inputs of down_proj, likewise: [window][intermediate].
  const float* activate(const DecoderLayer& layer, Index window) {
    linear_input_.assign(normalize(layer.post_attention_norm, window), window_, config_.hidden_size,
                         config_.hidden_size);
    width_ = config_.intermediate_size;
    scales_.clear();
    float* inputs = inputs_.overwrite(window);
    layer.feed_forward.activate(linear_input_, execution_, feed_forward_, inputs);
    inputs_.keep(window);
    return inputs;
  }

  /// Has `add` divide the inputs that are kept by `scales`, one for each channel.
  void divide_inputs(std::vector<float> scales) { scales_ = std::move(scales); }

  /// Adds what o_proj or down_proj makes of the inputs that were kept to the residual stream. To be
  /// called once for a window.
  void add(const Linear& linear, Index window) {
    float* inputs = inputs_.read(window);
    if (!scales_.empty()) divide(inputs);
    float* update = update_.make_room<float>(window_ * config_.hidden_size);
    linear_input_.assign(inputs, window_, width_, width_);
    linear.forward(linear_input_, execution_, update, config_.hidden_size);
    execution_.kernels.add(hidden_.read(window), update, window_ * config_.hidden_size);
    hidden_.keep(window);
  }

  /// Inputs of the widest Linear that are kept.
  [[nodiscard]] static Index widest(const ModelConfig& config) noexcept {
    return std::max(config.heads * config.head_dim, config.intermediate_size);
  }

 private:
  [[nodiscard]] static KvPageLayout page_layout(const ModelConfig& config) noexcept {
    return {KvType::Float32, 1, config.kv_heads, config.head_dim};
  }
  void divide(float* inputs) {
    execution_.pool.run(window_, [&](Index token, int) {
      float* values = inputs + token * width_;
      for (const float scale : scales_) *values++ /= scale;
    });
  }

  const ModelConfig& config_;
  Index window_;
  Execution execution_;
  std::shared_ptr<KvPool> pool_;
  KvCache cache_;  // of one layer and window at a time
  std::vector<TokenPlace> places_;
  Index width_ = 0;            // of the inputs that are kept
  std::vector<float> scales_;  // that they are still to be divided by, or empty
  AlignedBuffer angles_;       // [window][2][head_dim / 2], cosines and sines
  WindowStore hidden_;         // of each window [window][hidden], the residual stream
  WindowStore inputs_;         // of each window [window][width_]
  AlignedBuffer normed_;       // [window][hidden]
  AlignedBuffer update_;       // [window][hidden]
  LinearInput linear_input_;
  AttentionLayer::Scratch attention_;
  FeedForward::Scratch feed_forward_;
};

/// Linears of a block that have the same inputs.
struct InputGroup {
  std::vector<std::string_view> parts;  // their names within the block
  std::string_view maker;               // of the norm or Linear that makes the inputs
  Index inputs = 0;
};

/// Calls visit(group, step) for each group of a block's Linears that have the same inputs, in the
/// order in which they are run. step(stream, layer, down, window) runs a window from the group
/// before up to these inputs and returns them, [window][inputs]. `down` points to down_proj of the
/// block before, which the first step adds; null in the first block. All windows take one step
/// before any takes the next.
template <class Visit>
void for_each_input_group(const ModelConfig& config, Visit&& visit) {
  visit(InputGroup{{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
                   "input_layernorm",
                   config.hidden_size},
        [](CalibrationStream& stream, const DecoderLayer& layer, const Linear* down, Index window) {
          if (down != nullptr) stream.add(*down, window);
          return stream.normalize(layer.input_norm, window);
        });
  visit(InputGroup{{"self_attn.o_proj"}, "self_attn.v_proj", config.heads * config.head_dim},
        [](CalibrationStream& stream, const DecoderLayer& layer, const Linear*, Index window) {
          return stream.mix(layer, window);
        });
  visit(
      InputGroup{{"mlp.gate_proj", "mlp.up_proj"}, "post_attention_layernorm", config.hidden_size},
      [](CalibrationStream& stream, const DecoderLayer& layer, const Linear*, Index window) {
        stream.add(layer.attention.o_proj(), window);
        return stream.normalize(layer.post_attention_norm, window);
      });
  visit(InputGroup{{"mlp.down_proj"}, "mlp.up_proj", config.intermediate_size},
        [](CalibrationStream& stream, const DecoderLayer& layer, const Linear*, Index window) {
          return stream.activate(layer, window);
        });
}

}  // namespace nibble
