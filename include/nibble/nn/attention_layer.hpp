// Grouped-query self-attention with rotary positions over a paged cache.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/nn/kv_cache.hpp>
#include <nibble/nn/linear.hpp>
#include <nibble/nn/rms_norm.hpp>
#include <nibble/nn/rope.hpp>

namespace nibble {

/// Where a token of a batch belongs, and the angles of its position.
struct TokenPlace {
  KvCache* cache = nullptr;  // pages for `position` are reserved
  Index position = 0;
  const float* cosines = nullptr;  // [head_dim / 2]
  const float* sines = nullptr;    // [head_dim / 2]
};

/// Sizes of an attention layer.
struct AttentionShape {
  Index heads = 0;     // of queries
  Index kv_heads = 0;  // divides heads
  Index head_dim = 0;
  Index window = 0;  // positions that a query sees, its own included; 0: all before it
};

/// Consecutive positions of one sequence: tokens [first, first + count) of a batch.
struct TokenBlock {
  Index first = 0;
  Index count = 0;
};

/// Source: Vaswani et al., "Attention Is All You Need" (2017); Ainslie et al., "GQA" (2023).
class AttentionLayer {
 public:
  /// Memory of a forward pass, kept from call to call.
  struct Scratch {
    AlignedBuffer queries;  // [tokens][heads][head_dim]
    AlignedBuffer keys;     // [tokens][kv_heads][head_dim]
    AlignedBuffer values;   // [tokens][kv_heads][head_dim]
    AlignedBuffer heads;    // [tokens][heads][head_dim], what the heads put out
    AlignedBuffer workers;  // of each thread's attention task
    std::vector<TokenBlock> blocks;
    LinearInput heads_input;
  };

  /// Throws Error where sizes do not go together.
  AttentionLayer(const AttentionShape& shape, Linear q_proj, Linear k_proj, Linear v_proj,
                 Linear o_proj, std::optional<RmsNorm> q_norm, std::optional<RmsNorm> k_norm)
      : shape_(shape),
        q_proj_(std::move(q_proj)),
        k_proj_(std::move(k_proj)),
        v_proj_(std::move(v_proj)),
        o_proj_(std::move(o_proj)),
        q_norm_(std::move(q_norm)),
        k_norm_(std::move(k_norm)) {
    if (shape.kv_heads < 1 || shape.heads % shape.kv_heads != 0 || shape.head_dim < 1) {
      fail("attention: ", shape.heads, " heads of ", shape.head_dim, ", ", shape.kv_heads,
           " of keys and values");
    }
    const Index query_width = shape.heads * shape.head_dim;
    const Index key_width = shape.kv_heads * shape.head_dim;
    q_proj_.require("q_proj", query_width, q_proj_.inputs());
    k_proj_.require("k_proj", key_width, q_proj_.inputs());
    v_proj_.require("v_proj", key_width, q_proj_.inputs());
    o_proj_.require("o_proj", q_proj_.inputs(), query_width);
    for (const auto& norm : {std::cref(q_norm_), std::cref(k_norm_)}) {
      if (const std::optional<RmsNorm>& each = norm; each && each->size() != shape.head_dim) {
        fail("attention: a norm of ", each->size(), " numbers for heads of ", shape.head_dim);
      }
    }
  }

  [[nodiscard]] const Linear& q_proj() const noexcept { return q_proj_; }
  [[nodiscard]] const Linear& k_proj() const noexcept { return k_proj_; }
  [[nodiscard]] const Linear& v_proj() const noexcept { return v_proj_; }
  [[nodiscard]] const Linear& o_proj() const noexcept { return o_proj_; }

  [[nodiscard]] const AttentionShape& shape() const noexcept { return shape_; }

  /// Stores the tokens' keys and values as `layer` of their caches and writes [tokens][hidden] to
  /// `output`. Tokens of one cache come in ascending positions.
  void forward(LinearInput& input, std::span<const TokenPlace> tokens, Index layer,
               const Execution& execution, Scratch& scratch, float* output) const {
    const auto count = static_cast<Index>(tokens.size());
    const Index query_width = shape_.heads * shape_.head_dim;
    float* heads = scratch.heads.make_room<float>(count * query_width);
    mix(input, tokens, layer, execution, scratch, heads);
    scratch.heads_input.assign(heads, count, query_width, query_width);
    o_proj_.forward(scratch.heads_input, execution, output, o_proj_.outputs());
  }

  /// `forward` up to the inputs of o_proj: what the heads put out, [tokens][heads][head_dim].
  void mix(LinearInput& input, std::span<const TokenPlace> tokens, Index layer,
           const Execution& execution, Scratch& scratch, float* heads) const {
    const auto count = static_cast<Index>(tokens.size());
    const Index query_width = shape_.heads * shape_.head_dim;
    const Index key_width = shape_.kv_heads * shape_.head_dim;
    float* queries = scratch.queries.make_room<float>(count * query_width);
    float* keys = scratch.keys.make_room<float>(count * key_width);
    float* values = scratch.values.make_room<float>(count * key_width);

    q_proj_.forward(input, execution, queries, query_width);
    k_proj_.forward(input, execution, keys, key_width);
    v_proj_.forward(input, execution, values, key_width);

    execution.for_each_token(count, 1, [&](Index i) {
      const TokenPlace& token = tokens[static_cast<std::size_t>(i)];
      place_heads(queries + i * query_width, shape_.heads, q_norm_, token, execution.kernels);
      place_heads(keys + i * key_width, shape_.kv_heads, k_norm_, token, execution.kernels);
      store(token, layer, keys + i * key_width, values + i * key_width, execution.kernels);
    });
    attend(tokens, layer, execution, scratch, queries, heads);
  }

 private:
  /// Normalizes and rotates the heads of one token.
  void place_heads(float* heads, Index count, const std::optional<RmsNorm>& norm,
                   const TokenPlace& token, const KernelTable& kernels) const noexcept {
    for (Index head = 0; head < count; ++head) {
      float* vector = heads + head * shape_.head_dim;
      if (norm) norm->forward(vector, kernels, vector);
      kernels.rotate(vector, token.cosines, token.sines, shape_.head_dim);
    }
  }

  void store(const TokenPlace& token, Index layer, const float* keys, const float* values,
             const KernelTable& kernels) const noexcept {
    const KvPageLayout& layout = token.cache->layout();
    std::byte* page = token.cache->page_of(token.position);
    for (Index head = 0; head < shape_.kv_heads; ++head) {
      kernels.store_key_value(keys + head * shape_.head_dim, values + head * shape_.head_dim,
                              layout, page + layout.head_offset(layer, head),
                              token.position % page_positions);
    }
  }

  /// Softmax and mixing of values, for all tokens and heads. A task is a block of tokens and one
  /// KV head, or, where that makes fewer tasks than threads, some of its query heads.
  void attend(std::span<const TokenPlace> tokens, Index layer, const Execution& execution,
              Scratch& scratch, const float* queries, float* heads) const {
    const Index group = shape_.heads / shape_.kv_heads;
    split(tokens, group, execution.pool.size(), scratch.blocks);
    if (scratch.blocks.empty()) return;
    Index room = 0;
    for (const TokenBlock& block : scratch.blocks) {
      const KvPageLayout& layout = tokens[static_cast<std::size_t>(block.first)].cache->layout();
      room = std::max(room, attention_scratch_size(layout, block.count * group));
    }
    float* memory = scratch.workers.make_room<float>(room * execution.pool.size());

    const float scale = 1.0F / std::sqrt(static_cast<float>(shape_.head_dim));
    const auto blocks = static_cast<Index>(scratch.blocks.size());
    const Index threads = execution.pool.size();
    const Index task_heads = divide_up(group, divide_up(threads, blocks * shape_.kv_heads));
    const Index parts = divide_up(group, task_heads);
    const Index tasks = blocks * shape_.kv_heads * parts;
    const auto make_task = [&](Index index) {
      // One head after the other, so that its pages are still near; late positions, which take
      // long, first, so that the threads finish together.
      const Index part = index / blocks % parts;
      const Index kv_head = index / blocks / parts;
      const TokenBlock& block =
          scratch.blocks[static_cast<std::size_t>(blocks - 1 - index % blocks)];
      const TokenPlace& token = tokens[static_cast<std::size_t>(block.first)];
      const KvPageLayout& layout = token.cache->layout();
      const Index first_head = kv_head * group + part * task_heads;
      const Index offset = (block.first * shape_.heads + first_head) * shape_.head_dim;
      return AttentionTask{.queries = queries + offset,
                           .tokens = block.count,
                           .query_heads = std::min(task_heads, group - part * task_heads),
                           .stride = shape_.heads * shape_.head_dim,
                           .pages = token.cache->pages(),
                           .layout = layout,
                           .head_offset = layout.head_offset(layer, kv_head),
                           .position = token.position,
                           .window = shape_.window,
                           .scale = scale,
                           .output = heads + offset};
    };
    execution.pool.run(tasks, [&](Index index, int worker) {
      AttentionTask task = make_task(index);
      if (const Index following = index + threads; following < tasks) {
        const AttentionTask next = make_task(following);
        if (next.layout == task.layout) task.following = next.head_of(next.first_page());
      }
      task.scratch = memory + worker * room;
      execution.kernels.attention(task);
    });
  }

  /// Cuts the tokens into blocks of consecutive positions of one sequence: of `block_rows` query
  /// rows, or fewer where the threads would else have less than four tasks each.
  void split(std::span<const TokenPlace> tokens, Index group, Index threads,
             std::vector<TokenBlock>& blocks) const {
    const auto count = static_cast<Index>(tokens.size());
    const Index shared = divide_up(count * shape_.kv_heads, 4 * threads);
    const Index longest = std::max(block_rows / group, Index{1});
    const Index length = std::min(shared, longest);
    blocks.clear();
    for (Index i = 0; i < count; ++i) {
      const TokenPlace& token = tokens[static_cast<std::size_t>(i)];
      if (!blocks.empty() && blocks.back().count < length) {
        const TokenPlace& before = tokens[static_cast<std::size_t>(i - 1)];
        if (token.cache == before.cache && token.position == before.position + 1) {
          ++blocks.back().count;
          continue;
        }
      }
      blocks.push_back({i, 1});
    }
  }

  /// Query rows that use a page together: enough for its conversion to float to count little.
  static constexpr Index block_rows = 128;

  AttentionShape shape_;
  Linear q_proj_;
  Linear k_proj_;
  Linear v_proj_;
  Linear o_proj_;
  std::optional<RmsNorm> q_norm_;  // over each head, before the rotation
  std::optional<RmsNorm> k_norm_;
};

}  // namespace nibble
