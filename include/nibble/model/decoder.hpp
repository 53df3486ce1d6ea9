// The transformer decoder: immutable weights, and a forward pass over a batch of slices.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nibble/core/matrix.hpp>
#include <nibble/core/progress.hpp>
#include <nibble/model/layer_loader.hpp>
#include <nibble/model/model_config.hpp>
#include <nibble/model/session.hpp>
#include <nibble/model/tensor_provider.hpp>
#include <nibble/nn/embedding.hpp>

namespace nibble {

/// Which tokens of a slice get logits, or hidden states.
enum class LogitRows { None, Last, All };

/// New tokens of one session.
struct Slice {
  Session* session = nullptr;
  std::span<const TokenId> tokens;
  LogitRows logits = LogitRows::Last;
};

/// Threads, precision and memory of forward passes. Belongs to the caller, serves one pass at a
/// time, and grows to the largest batch it has seen.
class Workspace {
 public:
  explicit Workspace(ExecutorRef pool, ActivationMode activations = ActivationMode::Native)
      : pool_(pool), activations_(activations) {}

  [[nodiscard]] ExecutorRef pool() const noexcept { return pool_; }
  [[nodiscard]] ActivationMode activations() const noexcept { return activations_; }

 private:
  friend class Decoder;

  ExecutorRef pool_;
  ActivationMode activations_;
  std::vector<TokenPlace> places_;  // of all tokens of the batch
  std::vector<Index> logit_tokens_;
  AlignedBuffer angles_;  // [tokens][2][head_dim / 2], cosines and sines
  AlignedBuffer hidden_;  // [tokens][hidden], the residual stream
  AlignedBuffer normed_;  // [tokens][hidden]
  AlignedBuffer update_;  // [tokens][hidden]
  AlignedBuffer logits_;  // [rows][vocabulary]
  LinearInput input_;
  AttentionLayer::Scratch attention_;
  FeedForward::Scratch feed_forward_;
};

/// A decoder-only transformer of the Llama family. Immutable once built: any number of threads may
/// run it, each with sessions and a workspace of its own. (Workspaces that share a thread pool
/// take turns.)
class Decoder {
 public:
  /// Takes every tensor of the configuration from `tensors`. Throws what the provider throws, or
  /// Cancelled. `kernels` outlives the decoder.
  Decoder(ModelConfig config, const TensorProvider& tensors, ExecutorRef pool,
          const Progress& progress = {}, const KernelTable& kernels = nibble::kernels<>())
      : config_(std::move(config)), kernels_(&kernels), rope_(config_.rope, config_.head_dim) {
    check(config_);
    LayerLoader load(config_, tensors, pool, progress);
    embedding_.emplace(load.matrix(embedding_name));
    layers_.reserve(static_cast<std::size_t>(config_.layers));
    for (Index layer = 0; layer < config_.layers; ++layer) layers_.push_back(load.layer(layer));
    norm_.emplace(load.norm(final_norm_name));
    head_.emplace(config_.tied_head ? embedding_->weight() : load.matrix(head_name));
  }

  [[nodiscard]] const ModelConfig& config() const noexcept { return config_; }
  [[nodiscard]] const KernelTable& kernels() const noexcept { return *kernels_; }
  [[nodiscard]] std::span<const DecoderLayer> layers() const noexcept { return layers_; }
  [[nodiscard]] const Embedding& embedding() const noexcept { return *embedding_; }
  [[nodiscard]] const Linear& head() const noexcept { return *head_; }

  /// What a page of this decoder's cache looks like.
  [[nodiscard]] KvPageLayout page_layout(KvType type = KvType::Float16) const noexcept {
    return {type, config_.layers, config_.kv_heads, config_.head_dim};
  }

  /// A pool with room for `sequences` sequences of `positions` positions, or of as many as the
  /// context has. Throws Error where that is beyond all memory.
  [[nodiscard]] std::shared_ptr<KvPool> make_pool(Index positions, KvType type = KvType::Float16,
                                                  Index sequences = 1) const {
    const KvPageLayout layout = page_layout(type);
    const Index longest = std::clamp(positions, Index{1}, config_.max_positions);
    const auto sequence_pages = static_cast<std::size_t>(divide_up(longest, page_positions));
    const auto pages =
        checked_multiply(sequence_pages, static_cast<std::size_t>(std::max(sequences, Index{1})));
    const auto bytes =
        pages ? checked_multiply(*pages, layout.page_bytes()) : std::optional<std::size_t>();
    if (!bytes) {
      fail("the KV cache of ", sequences, " sequences of ", longest,
           " positions does not fit in memory");
    }
    return std::make_shared<KvPool>(layout, *bytes);
  }

  /// A session with a pool of its own, for `positions` positions.
  [[nodiscard]] Session make_session(Index positions, KvType type = KvType::Float16) const {
    return Session(make_pool(positions, type));
  }

  /// Appends each slice's tokens to its session and returns the logits asked for,
  /// [rows][vocabulary], in the order of the slices and their tokens; they live until the
  /// workspace's next use.
  ///
  /// A token's logits have the same bits however its sequence is cut into slices, whatever else is
  /// in the batch, and on any number of threads.
  ///
  /// Throws Error, and leaves all sessions as they were, for an empty slice, a session named twice
  /// or of another decoder's layout, an id outside the vocabulary, a sequence longer than the
  /// context, or a KV budget that is used up.
  Eigen::Map<const Matrix> forward(std::span<const Slice> batch, Workspace& workspace) const {
    run_layers(batch, workspace);
    const Eigen::Map<const Matrix> logits = project(normalize(workspace), workspace);
    advance(batch);  // last, since everything before may throw
    return logits;
  }

  /// The same up to the head: what it would take, the last layer's output after the final norm,
  /// [rows][hidden_size], of the tokens whose logits were asked for.
  Eigen::Map<const Matrix> hidden_states(std::span<const Slice> batch, Workspace& workspace) const {
    run_layers(batch, workspace);
    const Eigen::Map<const Matrix> states = normalize(workspace);
    advance(batch);
    return states;
  }

 private:
  /// Takes the tokens through all layers; `workspace.hidden_` is then the residual stream.
  void run_layers(std::span<const Slice> batch, Workspace& workspace) const {
    check(batch);
    reserve(batch);
    place(batch, workspace);
    const Execution execution{*kernels_, workspace.pool(), workspace.activations()};
    const auto tokens = static_cast<Index>(workspace.places_.size());
    float* hidden = workspace.hidden_.make_room<float>(tokens * config_.hidden_size);
    float* normed = workspace.normed_.make_room<float>(tokens * config_.hidden_size);
    float* update = workspace.update_.make_room<float>(tokens * config_.hidden_size);

    embed(batch, workspace.pool(), hidden);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const DecoderLayer& layer = layers_[i];
      if (i == 0) {
        layer.input_norm.forward(hidden, tokens, execution, normed);
      } else {
        layer.input_norm.add_and_forward(hidden, update, tokens, execution, normed);
      }
      workspace.input_.assign(normed, tokens, config_.hidden_size, config_.hidden_size);
      layer.attention.forward(workspace.input_, workspace.places_, static_cast<Index>(i), execution,
                              workspace.attention_, update);

      layer.post_attention_norm.add_and_forward(hidden, update, tokens, execution, normed);
      workspace.input_.assign(normed, tokens, config_.hidden_size, config_.hidden_size);
      layer.feed_forward.forward(workspace.input_, execution, workspace.feed_forward_, update);
    }
    if (layers_.empty()) return;
    execution.for_each_token(tokens, short_token_run, [&](Index token) {
      const Index first = token * config_.hidden_size;
      kernels_->add(hidden + first, update + first, config_.hidden_size);
    });
  }

  static void advance(std::span<const Slice> batch) {
    for (const Slice& slice : batch) {
      KvCache& cache = slice.session->cache();
      cache.set_length(cache.length() + static_cast<Index>(slice.tokens.size()));
    }
  }

  /// What the layers and kernels rely on, for a configuration that was not read from a file.
  static void check(const ModelConfig& config) {
    const auto require = [](bool valid, const char* what) {
      if (!valid) fail("model configuration: ", what);
    };
    require(config.kv_heads > 0 && config.heads % config.kv_heads == 0,
            "kv_heads must divide heads");
    require(config.head_dim > 0 && config.head_dim % 2 == 0 && config.head_dim <= max_head_dim,
            "head_dim must be even, positive and within the kernels' limit");
    require(static_cast<Index>(config.sliding_windows.size()) == config.layers,
            "sliding_windows must have an entry for each layer");
  }

  void check(std::span<const Slice> batch) const {
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const Slice& slice = batch[i];
      assert(slice.session != nullptr);
      const KvPageLayout& layout = slice.session->cache().layout();
      if (slice.tokens.empty()) fail("slice ", i, " of the batch has no tokens");
      if (layout != page_layout(layout.type)) {
        fail("slice ", i, " of the batch: its session was made for another model");
      }
      for (std::size_t j = 0; j < i; ++j) {
        if (batch[j].session == slice.session) {
          fail("slices ", j, " and ", i, " of the batch have the same session");
        }
      }
      for (const TokenId id : slice.tokens) {
        if (id < 0 || id >= config_.vocab_size) {
          fail("token id ", id, " is outside the vocabulary of ", config_.vocab_size);
        }
      }
      const Index end = slice.session->position() + static_cast<Index>(slice.tokens.size());
      if (end > config_.max_positions) {
        fail("a sequence of ", end, " tokens is longer than the model's context of ",
             config_.max_positions);
      }
    }
  }

  static void reserve(std::span<const Slice> batch) {
    try {
      for (const Slice& slice : batch) {
        KvCache& cache = slice.session->cache();
        cache.reserve(cache.length() + static_cast<Index>(slice.tokens.size()));
      }
    } catch (...) {
      for (const Slice& slice : batch) slice.session->truncate(slice.session->position());
      throw;
    }
  }

  /// Every token's cache, position and angles, and which of them get logits.
  void place(std::span<const Slice> batch, Workspace& workspace) const {
    workspace.places_.clear();
    workspace.logit_tokens_.clear();
    for (const Slice& slice : batch) {
      KvCache& cache = slice.session->cache();
      for (std::size_t i = 0; i < slice.tokens.size(); ++i) {
        const bool wanted = slice.logits == LogitRows::All ||
                            (slice.logits == LogitRows::Last && i + 1 == slice.tokens.size());
        if (wanted) {
          workspace.logit_tokens_.push_back(static_cast<Index>(workspace.places_.size()));
        }
        workspace.places_.push_back({&cache, cache.length() + static_cast<Index>(i)});
      }
    }
    const auto tokens = static_cast<Index>(workspace.places_.size());
    float* angles = workspace.angles_.make_room<float>(tokens * config_.head_dim);
    workspace.pool().run(tokens, [&](Index i, int) {
      TokenPlace& token = workspace.places_[static_cast<std::size_t>(i)];
      float* cosines = angles + i * config_.head_dim;
      float* sines = cosines + rope_.size();
      rope_.angles(token.position, cosines, sines);
      token.cosines = cosines;
      token.sines = sines;
    });
  }

  void embed(std::span<const Slice> batch, ExecutorRef pool, float* hidden) const {
    for (const Slice& slice : batch) {
      pool.run(static_cast<Index>(slice.tokens.size()), [&](Index i, int) {
        embedding_->lookup(slice.tokens[static_cast<std::size_t>(i)],
                           hidden + i * config_.hidden_size);
      });
      hidden += static_cast<Index>(slice.tokens.size()) * config_.hidden_size;
    }
  }

  /// The final norm of the tokens that were asked for.
  Eigen::Map<const Matrix> normalize(Workspace& workspace) const {
    const auto rows = static_cast<Index>(workspace.logit_tokens_.size());
    const float* hidden = workspace.hidden_.as<float>();
    float* normed = workspace.normed_.as<float>();
    for (Index row = 0; row < rows; ++row) {
      const Index token = workspace.logit_tokens_[static_cast<std::size_t>(row)];
      norm_->forward(hidden + token * config_.hidden_size, *kernels_,
                     normed + row * config_.hidden_size);
    }
    return {normed, rows, config_.hidden_size};
  }

  /// Logits of hidden states.
  Eigen::Map<const Matrix> project(const Eigen::Map<const Matrix>& states,
                                   Workspace& workspace) const {
    const Execution execution{*kernels_, workspace.pool(), workspace.activations()};
    float* logits = workspace.logits_.make_room<float>(states.rows() * config_.vocab_size);
    workspace.input_.assign(states.data(), states.rows(), config_.hidden_size, config_.hidden_size);
    head_->forward(workspace.input_, execution, logits, config_.vocab_size);
    return {logits, states.rows(), config_.vocab_size};
  }

  ModelConfig config_;
  const KernelTable* kernels_;
  Rope rope_;
  std::optional<Embedding> embedding_;
  std::vector<DecoderLayer> layers_;
  std::optional<RmsNorm> norm_;
  std::optional<Linear> head_;
};

}  // namespace nibble
