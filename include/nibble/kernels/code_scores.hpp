// Scores of rows by the distances of their codes, and whether any of them is worth a closer look.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include <nibble/core/checked.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// What is stored beside the RaBitQ code of a vector o, taken relative to the centre.
struct RaBitQCorrection {
  float scale = 0;           // |o|^2 / <code, o>; 0 for the centre itself
  float centre_product = 0;  // <centre, o>
};

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

/// Sixteen scores. Loops of a fixed length over arrays of their own, which compilers turn into
/// vectors of whatever width there is.
template <simd::InstructionSet Isa, bool Corrected>
[[nodiscard]] inline bool score_some(const CodeScoreTask& task, const std::int32_t* distances,
                                     const RaBitQCorrection* corrections, float* scores) noexcept {
  float block[rows_at_once];
  for (Index i = 0; i < rows_at_once; ++i) {
    const auto product = static_cast<float>((task.most - distances[i]) - distances[i]);
    if constexpr (Corrected) {
      block[i] = task.centre_product + corrections[i].centre_product +
                 task.scale * corrections[i].scale * product;
    } else {
      block[i] = task.centre_product + task.scale * product;
    }
  }
  int near = 0;
  for (Index i = 0; i < rows_at_once; ++i) near |= block[i] >= task.threshold ? 1 : 0;
  std::memcpy(scores, block, sizeof block);
  return near != 0;
}

template <simd::InstructionSet Isa, bool Corrected>
[[nodiscard]] inline bool score_all(const CodeScoreTask& task) noexcept {
  bool near = false;
  Index first = 0;
  for (; first + rows_at_once <= task.count; first += rows_at_once) {
    if constexpr (Corrected) {
      const auto* ahead = reinterpret_cast<const std::uint8_t*>(task.corrections + first);
      constexpr auto bytes = rows_at_once * static_cast<Index>(sizeof(RaBitQCorrection));
      for (Index line = 0; line < bytes; line += simd::cache_line) {
        simd::prefetch<Isa>(ahead + simd::prefetch_distance + line);
      }
    }
    near |= score_some<Isa, Corrected>(task, task.distances + first,
                                       Corrected ? task.corrections + first : nullptr,
                                       task.scores + first);
  }
  if (first == task.count) return near;
  // The rest is padded by its last row.
  std::int32_t distances[rows_at_once];
  RaBitQCorrection corrections[rows_at_once];
  float scores[rows_at_once];
  for (Index i = 0; i < rows_at_once; ++i) {
    const Index row = std::min(first + i, task.count - 1);
    distances[i] = task.distances[row];
    if constexpr (Corrected) corrections[i] = task.corrections[row];
  }
  near |= score_some<Isa, Corrected>(task, distances, corrections, scores);
  for (Index i = 0; i < task.count - first; ++i) task.scores[first + i] = scores[i];
  return near;
}

}  // namespace code_scores_detail

/// With c_r the correction of row r, scores[r] = centre_product + c_r.centre_product + scale *
/// c_r.scale * (most - 2 distances[r]), where most - 2 distances[r] is the inner product of the
/// codes (see `hamming_distances`). Returns whether one is the threshold or more: few blocks of
/// rows are, once the nearest so far are near enough.
template <simd::InstructionSet Isa>
[[nodiscard]] bool score_codes(const CodeScoreTask& task) noexcept {
  return task.corrections == nullptr ? code_scores_detail::score_all<Isa, false>(task)
                                     : code_scores_detail::score_all<Isa, true>(task);
}

}  // namespace nibble
