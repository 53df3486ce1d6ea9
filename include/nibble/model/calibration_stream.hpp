// The activations of a calibration text on their way through a model, layer by layer.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/model/layer_loader.hpp>
#include <nibble/nn/embedding.hpp>

namespace nibble {

/// A text to calibrate on: windows of consecutive tokens without overlap, each a sequence of its
/// own.
struct CalibrationText {
  std::vector<TokenId> tokens;
  Index window = 1024;  // tokens in a window
  Index samples = 128;  // use the first so many windows, or as many as there are

  [[nodiscard]] Index windows() const noexcept {
    return std::min(samples, static_cast<Index>(tokens.size()) / window);
  }
};

/// All windows in one variant of the model, between two steps of one layer: the residual stream,
/// and the inputs of the Linears that come next. In float32 throughout.
class CalibrationStream {
 public:
  /// Embeds the text's windows. Borrows everything but the embedding.
  CalibrationStream(const ModelConfig& config, const Embedding& embedding,
                    const CalibrationText& text, ExecutorRef pool, const KernelTable& kernels)
      : config_(config),
        window_(text.window),
        execution_{kernels, pool, ActivationMode::Float},
        pool_(std::make_shared<KvPool>(page_layout(config), page_layout(config).page_bytes() *
                                                                static_cast<std::size_t>(divide_up(
                                                                    text.window, page_positions)))),
        cache_(pool_) {
    const Index tokens = text.windows() * window_;
    const Index widest = std::max(config.heads * config.head_dim, config.intermediate_size);
    static_cast<void>(hidden_.make_room<float>(tokens * config.hidden_size));
    static_cast<void>(inputs_.make_room<float>(tokens * widest));
    pool.run(tokens, [&](Index i, int) {
      embedding.lookup(text.tokens[static_cast<std::size_t>(i)],
                       hidden_.as<float>() + i * config_.hidden_size);
    });

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
    norm.forward(hidden(window), window_, execution_, normed);
    return normed;
  }

  /// Attention up to the inputs of o_proj, which are returned and kept: [window][heads][head_dim].
  const float* mix(const DecoderLayer& layer, Index window) {
    linear_input_.assign(normalize(layer.input_norm, window), window_, config_.hidden_size,
                         config_.hidden_size);
    width_ = config_.heads * config_.head_dim;
    scales_.clear();
    layer.attention.mix(linear_input_, places_, 0, execution_, attention_, inputs(window));
    return inputs(window);
  }

  /// The feed-forward layer up to the inputs of down_proj, likewise: [window][intermediate].
  const float* activate(const DecoderLayer& layer, Index window) {
    linear_input_.assign(normalize(layer.post_attention_norm, window), window_, config_.hidden_size,
                         config_.hidden_size);
    width_ = config_.intermediate_size;
    scales_.clear();
    layer.feed_forward.activate(linear_input_, execution_, feed_forward_, inputs(window));
    return inputs(window);
  }

  /// Has `add` divide the inputs that are kept by `scales`, one for each channel.
  void divide_inputs(std::vector<float> scales) { scales_ = std::move(scales); }

  /// Adds what o_proj or down_proj makes of the inputs that were kept to the residual stream.
  void add(const Linear& linear, Index window) {
    if (!scales_.empty()) divide(inputs(window));
    float* update = update_.make_room<float>(window_ * config_.hidden_size);
    linear_input_.assign(inputs(window), window_, width_, width_);
    linear.forward(linear_input_, execution_, update, config_.hidden_size);
    execution_.kernels.add(hidden(window), update, window_ * config_.hidden_size);
  }

 private:
  [[nodiscard]] static KvPageLayout page_layout(const ModelConfig& config) noexcept {
    return {KvType::Float32, 1, config.kv_heads, config.head_dim};
  }
  [[nodiscard]] float* hidden(Index window) noexcept {
    return hidden_.as<float>() + window * window_ * config_.hidden_size;
  }
  void divide(float* inputs) {
    execution_.pool.run(window_, [&](Index token, int) {
      float* values = inputs + token * width_;
      for (const float scale : scales_) *values++ /= scale;
    });
  }
  [[nodiscard]] float* inputs(Index window) noexcept {
    return inputs_.as<float>() + window * window_ * width_;
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
  AlignedBuffer hidden_;       // [tokens][hidden], the residual stream
  AlignedBuffer inputs_;       // [tokens][width_]
  AlignedBuffer normed_;       // [window][hidden]
  AlignedBuffer update_;       // [window][hidden]
  LinearInput linear_input_;
  AttentionLayer::Scratch attention_;
  FeedForward::Scratch feed_forward_;
};

}  // namespace nibble
