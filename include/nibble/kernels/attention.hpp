// Attention of one token over the pages of its cache, with a running softmax.
//
// Source of the running softmax: Milakov and Gimelshein, "Online normalizer calculation for
// softmax" (2018). Every query head keeps its own maximum and takes the pages in ascending order,
// and within a page the positions; hidden positions take no part. So the bits of the result do
// not depend on how the tokens before were split into chunks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>

#include <nibble/kernels/kv_page.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// One token's queries that share a KV head.
struct AttentionTask {
  const float* queries = nullptr;  // [query_heads][head_dim]
  Index query_heads = 0;
  const std::byte* const* pages = nullptr;  // of the cache, by position / 64
  KvPageLayout layout;
  std::size_t head_offset = 0;  // of the layer's KV head in a page
  Index first_position = 0;     // the first visible position: 0, or where the window begins
  Index last_position = 0;      // the token's own
  float scale = 1;              // of the products q k
  float* output = nullptr;      // [query_heads][head_dim]
};

/// Writes a token's key and value, [head_dim] each, into its place in a page, rounded to T.
template <FloatElement T>
void store_key_value(const float* key, const float* value, const KvPageLayout& layout,
                     std::byte* head, Index slot) noexcept {
  auto* keys = reinterpret_cast<T*>(head);
  auto* values = reinterpret_cast<T*>(head + layout.key_bytes()) + slot * layout.padded_dim();
  for (Index d = 0; d < layout.head_dim; ++d) {
    keys[d * page_positions + slot] = from_float<T>(key[d]);
    values[d] = from_float<T>(value[d]);
  }
}

namespace attention_detail {

/// The softmax so far of one query head: weights are e^(score - maximum).
template <simd::InstructionSet Isa>
struct RunningSoftmax {
  float maximum = -std::numeric_limits<float>::infinity();
  float total = 0;
  alignas(alignment) float output[max_head_dim];  // [padded_dim], not yet divided by total

  /// Takes in the visible positions [first, end) of a page.
  template <class T>
  void add_page(const float* query, const std::byte* head, const KvPageLayout& layout, Index first,
                Index end, float scale) noexcept {
    using Floats = simd::Floats<Isa>;
    constexpr int vectors = static_cast<int>(page_positions) / simd::lane_count;
    const auto* keys = reinterpret_cast<const T*>(head);
    const auto* values = reinterpret_cast<const T*>(head + layout.key_bytes());

    Floats scores[vectors];
    simd::unroll<vectors>([&](auto v) { scores[v] = Floats::broadcast(0.0F); });
    for (Index d = 0; d < layout.head_dim; ++d) {
      const auto q = Floats::broadcast(query[d]);
      simd::unroll<vectors>([&](auto v) {
        scores[v] = fma(q, simd::load_floats<Isa>(keys + d * page_positions + v * simd::lane_count),
                        scores[v]);
      });
    }
    alignas(alignment) float weights[page_positions];
    simd::unroll<vectors>([&](auto v) {
      (scores[v] * Floats::broadcast(scale)).store(weights + v * simd::lane_count);
    });
    constexpr float hidden = -std::numeric_limits<float>::infinity();
    std::fill(weights, weights + first, hidden);
    std::fill(weights + end, weights + page_positions, hidden);

    float page_maximum = maximum;
    simd::unroll<vectors>([&](auto v) {
      page_maximum =
          std::max(page_maximum, simd::reduce_max(Floats::load(weights + v * simd::lane_count)));
    });
    if (page_maximum > maximum) {
      rescale(page_maximum, layout.padded_dim());
      maximum = page_maximum;
    }
    Floats sum = Floats::broadcast(0.0F);
    simd::unroll<vectors>([&](auto v) {
      const Floats e =
          exp(Floats::load(weights + v * simd::lane_count) - Floats::broadcast(maximum));
      e.store(weights + v * simd::lane_count);
    });
    std::fill(weights, weights + first, 0.0F);
    std::fill(weights + end, weights + page_positions, 0.0F);
    simd::unroll<vectors>(
        [&](auto v) { sum = sum + Floats::load(weights + v * simd::lane_count); });
    total = total + simd::reduce_sum(sum);

    for (Index d = 0; d < layout.padded_dim(); d += simd::lane_count) {
      Floats out = Floats::load(output + d);
      for (Index position = first; position < end; ++position) {
        out = fma(Floats::broadcast(weights[position]),
                  simd::load_floats<Isa>(values + position * layout.padded_dim() + d), out);
      }
      out.store(output + d);
    }
  }

 private:
  /// Makes what was summed so far relative to a larger maximum.
  void rescale(float new_maximum, Index padded_dim) noexcept {
    using Floats = simd::Floats<Isa>;
    // Nothing was summed before the first page; e^(-inf) need not be exact there.
    alignas(alignment) float factors[simd::lane_count];
    exp(Floats::broadcast(maximum - new_maximum)).store(factors);
    const float factor = total == 0 ? 0.0F : factors[0];
    total = total * factor;
    for (Index d = 0; d < padded_dim; d += simd::lane_count) {
      (Floats::load(output + d) * Floats::broadcast(factor)).store(output + d);
    }
  }
};

}  // namespace attention_detail

/// output = softmax(scale * queries * keys^T) * values over the visible positions.
template <simd::InstructionSet Isa>
void attention(const AttentionTask& task) noexcept {
  const KvPageLayout& layout = task.layout;
  const Index first_page = task.first_position / page_positions;
  const Index last_page = task.last_position / page_positions;
  for (Index query = 0; query < task.query_heads; ++query) {
    attention_detail::RunningSoftmax<Isa> softmax;
    std::fill(softmax.output, softmax.output + layout.padded_dim(), 0.0F);
    for (Index page = first_page; page <= last_page; ++page) {
      const Index start = page * page_positions;
      const Index first = std::max(task.first_position - start, Index{0});
      const Index end = std::min(task.last_position + 1 - start, page_positions);
      with_kv_type(layout.type, [&]<class T>(T) {
        softmax.template add_page<T>(task.queries + query * layout.head_dim,
                                     task.pages[page] + task.head_offset, layout, first, end,
                                     task.scale);
      });
    }
    float* output = task.output + query * layout.head_dim;
    for (Index d = 0; d < layout.head_dim; ++d) output[d] = softmax.output[d] / softmax.total;
  }
}

}  // namespace nibble
