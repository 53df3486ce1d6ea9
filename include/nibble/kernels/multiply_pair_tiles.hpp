// The micro-kernel of bfloat16 activations on matrix registers, for any number of tokens.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include <nibble/format/float_format.hpp>
#include <nibble/kernels/matmul_task.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// What multiply_pair_tiles works in.
struct PairTileScratch {
  alignas(alignment) float sums[tile_panels][block_tokens][panel_rows];
  // The last inputs of a row, filled up with zeros to a whole tile.
  alignas(alignment) std::byte rest[tile_panels][simd::tile_side][simd::tile_row_bytes];
};

/// sums[panel] += the products of inputs [first, end) with a tile of tokens. One order for every
/// number of tokens and panels: steps of 32 inputs.
template <simd::TileInstructionSet Isa, int Panels>
inline void multiply_pair_block(const MatmulTask& task, Index panel, Index first, Index end,
                                Index tile, Index token, PairTileScratch& scratch) noexcept {
  constexpr Index step = simd::tile_row_bytes / static_cast<Index>(sizeof(BFloat16));
  const Index last_panel = task.end_panel - 1;
  const std::byte* weights[Panels];
  simd::unroll<Panels>([&](auto p) {
    // (The last group may have fewer panels; what is computed twice then is not looked at.)
    weights[p] =
        task.weights.codes(std::min(panel + p, last_panel)) +
        static_cast<std::size_t>(first / BFloat16Format::unit_inputs) * BFloat16Format::unit_bytes;
    if (first == 0) {
      simd::zero_tile<Isa>(simd::Tile<p>{});
    } else {
      simd::load_tile<Isa>(simd::Tile<p>{}, scratch.sums[p][token], simd::tile_row_bytes);
    }
  });
  const Index width = task.inputs.width_of(tile);
  const auto* inputs =
      task.inputs.tile_inputs<std::byte>(tile) + first / step * width * simd::tile_row_bytes;
  for (Index i = first; i < end; i += step) {
    simd::load_tile<Isa>(simd::Tile<4>{}, inputs, simd::tile_row_bytes);
    inputs += width * simd::tile_row_bytes;
    const bool whole = i + step <= task.weights.cols;
    simd::unroll<Panels>([&](auto p) {
      constexpr simd::Tile<5 + p % 3> tile_weights;
      const std::byte* source = whole ? weights[p] : scratch.rest[p][0];
      if constexpr (Panels == 1) {
        simd::prefetch_ahead<Isa>(source, simd::tile_side * simd::tile_row_bytes);
      }
      simd::load_tile<Isa>(tile_weights, source, simd::tile_row_bytes);
      simd::multiply_pairs<Isa>(simd::Tile<p>{}, simd::Tile<4>{}, tile_weights);
      weights[p] += simd::tile_side * simd::tile_row_bytes;
    });
  }
  simd::unroll<Panels>(
      [&](auto p) { simd::store_tile<Isa>(simd::Tile<p>{}, scratch.sums[p][token]); });
}

/// The products of a task's panels with tiles [first_tile, end_tile), all of the same width and
/// together at most block_tokens. finish(panel, token, results) takes the results.
/// Panels: how many are multiplied together; 1 reads the weights as one stream.
template <simd::TileInstructionSet Isa, int Panels, class Finish>
inline void multiply_pair_tiles(const MatmulTask& task, Index first_tile, Index end_tile,
                                PairTileScratch& scratch, Finish&& finish) noexcept {
  static_assert(Panels <= tile_panels);
  constexpr Index step = simd::tile_row_bytes / static_cast<Index>(sizeof(BFloat16));
  const PanelView& weights = task.weights;
  const Index first_token = task.inputs.first_token(first_tile);
  const Index end_token =
      task.inputs.first_token(end_tile - 1) + task.inputs.tokens_in(end_tile - 1);
  const Index block = Panels == 1 ? round_up(weights.cols, step) : block_inputs;

  simd::configure_tiles<Isa>(static_cast<int>(task.inputs.width_of(first_tile)),
                             simd::tile_row_bytes);
  for (Index panel = task.first_panel; panel < task.end_panel; panel += Panels) {
    const Index panels = std::min(Index{Panels}, task.end_panel - panel);
    if (const Index rest = weights.cols % step; rest != 0) {
      for (Index p = 0; p < panels; ++p) {
        const auto bytes = static_cast<std::size_t>(divide_up(rest, BFloat16Format::unit_inputs)) *
                           BFloat16Format::unit_bytes;
        const auto begin =
            static_cast<std::size_t>((weights.cols - rest) / BFloat16Format::unit_inputs) *
            BFloat16Format::unit_bytes;
        std::memset(scratch.rest[p], 0, sizeof scratch.rest[p]);
        std::memcpy(scratch.rest[p], weights.codes(panel + p) + begin, bytes);
      }
    }
    for (Index first = 0; first < weights.cols; first += block) {
      const Index end = std::min(first + block, weights.cols);
      for (Index tile = first_tile; tile < end_tile; ++tile) {
        multiply_pair_block<Isa, Panels>(task, panel, first, end, tile,
                                         task.inputs.first_token(tile) - first_token, scratch);
      }
    }
    // Token by token, so that what lies together is written together.
    for (Index token = first_token; token < end_token; ++token) {
      for (Index p = 0; p < panels; ++p) {
        finish(panel + p, token, simd::Floats<Isa>::load(scratch.sums[p][token - first_token]));
      }
    }
  }
  simd::release_tiles<Isa>();
}

}  // namespace nibble
