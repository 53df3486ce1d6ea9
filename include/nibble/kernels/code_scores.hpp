// Scores of rows by the distances of their codes, and whether any of them is worth a closer look.
#pragma once

#include <algorithm>
#include <cstdint>

#include <nibble/core/checked.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// What is stored beside the RaBitQ code of a vector o, taken relative to the centre.
struct RaBitQCorrection {
  float scale = 0;           // |o|^2 / <code, o>; 0 for the centre itself
  float centre_product = 0;  // <centre, o>
};
static_assert(sizeof(RaBitQCorrection) == 2 * sizeof(float));

/// What the distances of one query from some rows become scores by.
struct CodeScoreTask {
  const std::int32_t* distances = nullptr;        // [count]
  const RaBitQCorrection* corrections = nullptr;  // [count]; null: scales of 1, products of 0
  Index count = 0;
  std::int32_t most = 0;  // the product of codes whose distance is 0
  float scale = 0;
  float centre_product = 0;
  float threshold = 0;
  float* scores = nullptr;  // [count]
};

namespace code_scores_detail {

inline constexpr Index rows_at_once = simd::lane_count;

/// Sixteen scores. The top bits of `below` stay set where they are below the threshold.
template <simd::InstructionSet Isa, bool Corrected>
inline void score_some(const CodeScoreTask& task, const std::int32_t* distances,
                       const RaBitQCorrection* corrections, float* scores,
                       simd::Words<Isa>& below) noexcept {
  using Floats = simd::Floats<Isa>;
  using Ints = simd::Ints<Isa>;
  const Ints some = Ints::load(distances);
  const Floats products = to_float((Ints::broadcast(task.most) - some) - some);
  Floats scales = Floats::broadcast(task.scale);
  Floats centre_products = Floats::broadcast(task.centre_product);
  if constexpr (Corrected) {
    const auto rows = simd::load_pairs<Isa>(&corrections->scale);
    scales = scales * rows.first;
    centre_products = centre_products + rows.second;
  }
  const Floats values = fma(scales, products, centre_products);
  values.store(scores);
  below = below & simd::bitwise_cast<std::uint32_t>(values - Floats::broadcast(task.threshold));
}

template <simd::InstructionSet Isa, bool Corrected>
[[nodiscard]] inline bool score_all(const CodeScoreTask& task) noexcept {
  constexpr std::uint32_t sign_bit = 0x80000000U;
  auto below = simd::Words<Isa>::broadcast(sign_bit);
  Index first = 0;
  for (; first + rows_at_once <= task.count; first += rows_at_once) {
    const RaBitQCorrection* corrections = nullptr;
    if constexpr (Corrected) {
      corrections = task.corrections + first;
      simd::prefetch_ahead<Isa>(corrections, rows_at_once * sizeof(RaBitQCorrection));
    }
    score_some<Isa, Corrected>(task, task.distances + first, corrections, task.scores + first,
                               below);
  }
  if (first < task.count) {
    // The rest is filled up with its last row.
    std::int32_t distances[rows_at_once];
    RaBitQCorrection corrections[rows_at_once];
    float scores[rows_at_once];
    for (Index i = 0; i < rows_at_once; ++i) {
      const Index row = std::min(first + i, task.count - 1);
      distances[i] = task.distances[row];
      if constexpr (Corrected) corrections[i] = task.corrections[row];
    }
    score_some<Isa, Corrected>(task, distances, corrections, scores, below);
    for (Index i = 0; i < task.count - first; ++i) task.scores[first + i] = scores[i];
  }
  const std::uint32_t all_below =
      simd::reduce(Isa{}, below, [](const auto& a, const auto& b) { return a & b; });
  return all_below != sign_bit;
}

}  // namespace code_scores_detail

/// With c_r the correction of row r, scores[r] = centre_product + c_r.centre_product + scale *
/// c_r.scale * (most - 2 distances[r]), where most - 2 distances[r] is the inner product of the
/// codes (see `hamming_distances`). Returns whether one is the threshold or more (maybe
/// also for one that is not a number): in few blocks of rows is one, once the nearest so far are
/// near enough.
template <simd::InstructionSet Isa>
[[nodiscard]] bool score_codes(const CodeScoreTask& task) noexcept {
  return task.corrections == nullptr ? code_scores_detail::score_all<Isa, false>(task)
                                     : code_scores_detail::score_all<Isa, true>(task);
}

}  // namespace nibble
