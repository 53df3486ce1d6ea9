// Attention of a block of queries over the pages of their sequence's cache.
//
// A block is a few tokens side by side, each with the query heads that share one KV head; all its
// rows use a page before the next one is looked at. Every row keeps its own shift, takes the
// pages in ascending order, and in a page the positions that it sees and no other. So the bits of
// a row do not depend on its block, and hidden slots may hold anything.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include <nibble/kernels/attention_products.hpp>
#include <nibble/kernels/kv_page.hpp>
#include <nibble/kernels/running_softmax.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// The queries of consecutive positions of one sequence that share a KV head. Row r of the block
/// is query head r % query_heads of token r / query_heads.
struct AttentionTask {
  const float* queries = nullptr;  // [tokens][query_heads][head_dim], tokens `stride` apart
  Index tokens = 1;
  Index query_heads = 0;
  Index stride = 0;                         // floats between tokens, of queries and output
  const std::byte* const* pages = nullptr;  // of the cache, by position / 64
  KvPageLayout layout;
  std::size_t head_offset = 0;  // of the layer's KV head in a page
  Index position = 0;           // of the first token
  Index window = 0;             // positions that a token sees, its own included; 0: all
  float scale = 1;              // of the products q k
  /// What the next task begins with, of the same layout, to be asked for ahead; or null.
  const std::byte* following = nullptr;
  float* output = nullptr;   // as `queries`
  float* scratch = nullptr;  // [attention_scratch_size(layout, rows())], 64-byte aligned

  [[nodiscard]] Index rows() const noexcept { return tokens * query_heads; }
  /// The first position that a token of the block sees.
  [[nodiscard]] Index first_visible(Index token) const noexcept {
    return window == 0 ? 0 : std::max(position + token + 1 - window, Index{0});
  }
  /// The first page that the block sees, and the last.
  [[nodiscard]] Index first_page() const noexcept { return first_visible(0) / page_positions; }
  [[nodiscard]] Index last_page() const noexcept {
    return (position + tokens - 1) / page_positions;
  }
  /// The KV head's part of a page.
  [[nodiscard]] const std::byte* head_of(Index page) const noexcept {
    return pages[page] + head_offset;
  }
};

namespace attention_detail {

/// Memory of a task.
template <simd::InstructionSet Isa>
struct Scratch {
  float* queries;  // [rows][head_dim], scaled
  float* scores;   // [rows][64] of a page
  float* outputs;  // [rows][padded_dim]
  float* totals;   // [rows][16]
  float* shifts;   // [rows]
  float* page;     // [head_dim][64] keys or [64][padded_dim] values of a page as floats
  Index size;      // of it all, in floats

  Scratch(float* memory, const KvPageLayout& layout, Index rows) noexcept {
    Index used = 0;
    const auto take = [&](Index count) {
      float* part = memory == nullptr ? nullptr : memory + used;
      used += round_up(count, Index{simd::lane_count});
      return part;
    };
    queries = take(rows * layout.head_dim);
    scores = take(rows * page_positions);
    outputs = take(rows * layout.padded_dim());
    totals = take(rows * simd::lane_count);
    shifts = take(rows);
    page = take(page_positions * layout.padded_dim());
    size = used;
  }
};

/// A task under way, over pages of T.
template <simd::InstructionSet Isa, FloatElement T>
class AttentionBlock {
 public:
  explicit AttentionBlock(const AttentionTask& task) noexcept
      : task_(task), scratch_(task.scratch, task.layout, task.rows()) {}

  void run() const noexcept {
    begin();
    for (Index page = task_.first_page(); page <= task_.last_page(); ++page) take_page(page);
    end();
  }

 private:
  using Floats = simd::Floats<Isa>;

  /// Positions of a page, counted from its first.
  struct Range {
    Index first;
    Index end;
  };

  /// What a token sees of the page that begins at position `start`.
  [[nodiscard]] Range visible(Index token, Index start) const noexcept {
    return {std::max(task_.first_visible(token) - start, Index{0}),
            std::min(task_.position + token + 1 - start, page_positions)};
  }

  [[nodiscard]] SoftmaxRow softmax(Index row) const noexcept {
    return {scratch_.shifts + row, scratch_.totals + row * simd::lane_count,
            scratch_.outputs + row * layout().padded_dim()};
  }

  /// What is used after a page: the next one, and after the last what the next task begins with.
  [[nodiscard]] const std::byte* after(Index page) const noexcept {
    if (page < task_.last_page()) return task_.head_of(page + 1);
    return task_.following == nullptr ? task_.head_of(page) : task_.following;
  }
  [[nodiscard]] const KvPageLayout& layout() const noexcept { return task_.layout; }

  void begin() const noexcept {
    const Index width = task_.query_heads * layout().head_dim;
    const auto scale = Floats::broadcast(task_.scale);
    for (Index token = 0; token < task_.tokens; ++token) {
      const float* from = task_.queries + token * task_.stride;
      float* to = scratch_.queries + token * width;
      Index i = 0;
      for (; i + simd::lane_count <= width; i += simd::lane_count) {
        (Floats::load(from + i) * scale).store(to + i);
      }
      for (; i < width; ++i) to[i] = from[i] * task_.scale;
    }
    for (Index row = 0; row < task_.rows(); ++row) clear<Isa>(softmax(row), layout().padded_dim());
  }

  void end() const noexcept {
    for (Index token = 0; token < task_.tokens; ++token) {
      for (Index head = 0; head < task_.query_heads; ++head) {
        finish<Isa>(softmax(token * task_.query_heads + head), layout().head_dim,
                    task_.output + token * task_.stride + head * layout().head_dim);
      }
    }
  }

  void take_page(Index page) const noexcept {
    const Index start = page * page_positions;
    // The tokens that see some of it.
    const Index first = std::max(start - task_.position, Index{0});
    const Index end =
        task_.window == 0
            ? task_.tokens
            : std::min(task_.tokens, start + page_positions - 1 + task_.window - task_.position);
    const std::byte* head = task_.head_of(page);
    const T* keys = reinterpret_cast<const T*>(head);
    const T* values = reinterpret_cast<const T*>(head + layout().key_bytes());
    NextPage next(after(page), layout());
    if constexpr (!std::is_same_v<T, float>) {
      // Many rows share one conversion; a few read as they go.
      if ((end - first) * task_.query_heads > 2 * tile_rows<Isa>) {
        convert(keys, layout().head_dim * page_positions);
        score(scratch_.page, next, start, first, end);
        convert(values, page_positions * layout().padded_dim());
        add(scratch_.page, next, start, first, end);
        return;
      }
    }
    score(keys, next, start, first, end);
    add(values, next, start, first, end);
  }

  void convert(const T* data, Index count) const noexcept {
    for (Index i = 0; i < count; i += simd::lane_count) {
      simd::load_floats<Isa>(data + i).store(scratch_.page + i);
    }
  }

  /// Weights of the page's positions for the rows of tokens [first, end).
  template <class K>
  void score(const K* keys, NextPage& next, Index start, Index first, Index end) const noexcept {
    const Index heads = task_.query_heads;
    const Range seen{visible(first, start).first, visible(end - 1, start).end};
    for_tiles<Isa>(first * heads, end * heads, [&](Index tile, auto rows) {
      score_rows<Isa, rows>(scratch_.queries + tile * layout().head_dim, keys, next,
                            layout().head_dim, seen.first, seen.end,
                            scratch_.scores + tile * page_positions);
      Index token = tile / heads;
      for (Index row = tile; row < tile + rows; ++row) {
        if (row == (token + 1) * heads) ++token;
        const Range range = visible(token, start);
        take_scores<Isa>(softmax(row), scratch_.scores + row * page_positions, range.first,
                         range.end, layout().padded_dim());
      }
    });
  }

  /// Adds the page's values times these weights. A tile takes what all its rows see together, and
  /// each row alone what comes before and after that.
  template <class V>
  void add(const V* values, NextPage& next, Index start, Index first, Index end) const noexcept {
    const Index heads = task_.query_heads;
    const Index padded_dim = layout().padded_dim();
    const auto add_rows = [&](Index row, auto rows, Range range) {
      add_values<Isa, rows>(scratch_.scores + row * page_positions, values, next, padded_dim,
                            range.first, range.end, scratch_.outputs + row * padded_dim);
    };
    for_tiles<Isa>(first * heads, end * heads, [&](Index tile, auto rows) {
      constexpr std::integral_constant<int, 1> one{};
      const Range upper = visible(tile / heads, start);
      const Range lower = visible((tile + rows - 1) / heads, start);
      const Range common{lower.first, std::max(lower.first, upper.end)};
      const bool alike = upper.first == lower.first && upper.end == lower.end;
      const auto for_rows = [&](auto&& body) {
        if (alike) return;
        for (Index row = tile; row < tile + rows; ++row) body(row, visible(row / heads, start));
      };
      for_rows([&](Index row, Range range) {
        add_rows(row, one, {range.first, std::min(range.end, common.first)});
      });
      add_rows(tile, rows, common);
      for_rows([&](Index row, Range range) {
        add_rows(row, one, {std::max(range.first, common.end), range.end});
      });
    });
  }

  AttentionTask task_;
  Scratch<Isa> scratch_;
};

}  // namespace attention_detail

/// Floats of scratch for a task of `rows` rows.
[[nodiscard]] inline Index attention_scratch_size(const KvPageLayout& layout, Index rows) noexcept {
  return attention_detail::Scratch<simd::Portable>(nullptr, layout, rows).size;
}

/// output = softmax(scale * queries * keys^T) * values over the positions that each token sees.
template <simd::InstructionSet Isa>
void attention(const AttentionTask& task) noexcept {
  with_kv_type(task.layout.type,
               [&]<class T>(T) { attention_detail::AttentionBlock<Isa, T>(task).run(); });
}

}  // namespace nibble
