// The softmax of one query row over pages that come one by one.
//
// Source: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018).
#pragma once

#include <algorithm>
#include <limits>

#include <nibble/core/checked.hpp>
#include <nibble/kernels/kv_page.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble::attention_detail {

/// What a query row has summed up so far; its weights are e^(score - shift).
struct SoftmaxRow {
  float* shift = nullptr;   // a page's largest score
  float* totals = nullptr;  // [16], by position modulo 16: their sum is that of the weights
  float* output = nullptr;  // [padded_dim], not yet divided by it
};

/// How far scores may be above the shift before it is raised. Sums relative to a smaller shift are
/// as exact as others, weights of e^8 are far from a float's end, and after its first page a row
/// seldom has to rescale anything.
inline constexpr float shift_headroom = 8.0F;

template <simd::InstructionSet Isa>
void clear(const SoftmaxRow& row, Index padded_dim) noexcept {
  const auto zero = simd::Floats<Isa>::broadcast(0.0F);
  *row.shift = -std::numeric_limits<float>::infinity();
  zero.store(row.totals);
  for (Index d = 0; d < padded_dim; d += simd::lane_count) zero.store(row.output + d);
}

/// Makes what was summed so far relative to a larger shift.
template <simd::InstructionSet Isa>
void raise_shift(const SoftmaxRow& row, float shift, Index padded_dim) noexcept {
  using Floats = simd::Floats<Isa>;
  // Before the first page this is e^-infinity = 0, and what it multiplies 0.
  const Floats factor = exp(Floats::broadcast(*row.shift - shift));
  (Floats::load(row.totals) * factor).store(row.totals);
  for (Index d = 0; d < padded_dim; d += simd::lane_count) {
    (Floats::load(row.output + d) * factor).store(row.output + d);
  }
  *row.shift = shift;
}

/// Replaces the scores of a page, [64], by weights, and adds these to the row's totals. Positions
/// outside [first, end), whose scores may be anything, get weights of exactly 0.
template <simd::InstructionSet Isa>
void take_scores(const SoftmaxRow& row, float* scores, Index first, Index end,
                 Index padded_dim) noexcept {
  using Floats = simd::Floats<Isa>;
  constexpr int vectors = static_cast<int>(page_positions) / simd::lane_count;
  const bool partial = first > 0 || end < page_positions;
  const auto fill_hidden = [&](float value) {
    for (Index i = 0; i < first; ++i) scores[i] = value;
    for (Index i = end; i < page_positions; ++i) scores[i] = value;
  };
  if (partial) fill_hidden(-std::numeric_limits<float>::infinity());
  Floats lanes[vectors];
  simd::unroll<vectors>([&](auto v) { lanes[v] = Floats::load(scores + v * simd::lane_count); });
  static_assert(vectors == 4);
  const Floats largest = max(max(lanes[0], lanes[1]), max(lanes[2], lanes[3]));
  if (simd::any_above(largest, *row.shift + shift_headroom)) {
    raise_shift<Isa>(row, simd::reduce_max(largest), padded_dim);
  }

  const auto shift = Floats::broadcast(*row.shift);
  simd::unroll<vectors>([&](auto v) {
    lanes[v] = exp(lanes[v] - shift);
    lanes[v].store(scores + v * simd::lane_count);
  });
  if (partial) {
    fill_hidden(0.0F);
    simd::unroll<vectors>([&](auto v) { lanes[v] = Floats::load(scores + v * simd::lane_count); });
  }
  const Floats sum = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
  (Floats::load(row.totals) + sum).store(row.totals);
}

/// Writes the row's result, [head_dim].
template <simd::InstructionSet Isa>
void finish(const SoftmaxRow& row, Index head_dim, float* output) noexcept {
  using Floats = simd::Floats<Isa>;
  const auto total = Floats::broadcast(simd::reduce_sum(Floats::load(row.totals)));
  for (Index d = 0; d < head_dim; d += simd::lane_count) {
    const auto count = static_cast<int>(std::min(head_dim - d, Index{simd::lane_count}));
    simd::store_first(Floats::load(row.output + d) / total, output + d, count);
  }
}

}  // namespace nibble::attention_detail
