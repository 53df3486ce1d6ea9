// output = input * weights^T for every format and any number of tokens.
//
// A panel's codes are unpacked block by block into the L1 cache and multiplied with every tile of
// tokens; for a single token they go through the registers alone. A lane is one output row and
// adds its inputs up in one order whatever the tile, so the bits of a result depend on its row and
// its token alone.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <nibble/kernels/multiply_code_tiles.hpp>
#include <nibble/kernels/multiply_codes.hpp>
#include <nibble/kernels/multiply_floats.hpp>
#include <nibble/kernels/multiply_pair_tiles.hpp>
#include <nibble/kernels/multiply_pairs.hpp>

namespace nibble {

/// Tokens in a tile: as many as have room for their accumulators in half of the registers.
template <simd::InstructionSet Isa>
[[nodiscard]] constexpr Index tile_width_of(Activations kind) noexcept {
  constexpr Index width =
      std::max(Isa::registers / 2 / static_cast<int>(simd::Floats<Isa>::register_count), 2);
  return kind == Activations::Float ? width / float_chains : width;
}

namespace matmul_detail {

/// Calls body(integral constant) with the width of a tile: a power of two up to Widest.
template <simd::InstructionSet Isa, int Widest, class Body>
inline void with_width(Index width, Body&& body) noexcept {
  if constexpr (Widest > 1) {
    if (width < Widest) return with_width<Isa, Widest / 2>(width, body);
  }
  body(std::integral_constant<int, Widest>{});
}

/// Stores the results of a panel's rows for one token.
template <simd::InstructionSet Isa>
inline void store_rows(const MatmulTask& task, Index panel, Index token,
                       const simd::Floats<Isa>& results) noexcept {
  const Index row = panel * panel_rows;
  const auto rows = static_cast<int>(std::min(panel_rows, task.weights.rows - row));
  simd::store_first(results, task.output + token * task.output_stride + row, rows);
}

/// Block by block, for the tokens of tiles [first_tile, end_tile), at most block_tokens. A tile of
/// int8 inputs meets several panels while it is in the first-level cache; unpacked floats take too
/// much room there. A single tile takes the panels one by one, as one stream from memory.
template <simd::InstructionSet Isa, WeightFormat F, Activations Kind>
inline void multiply_blocks(const MatmulTask& task, Index first_tile, Index end_tile) noexcept {
  using Floats = simd::Floats<Isa>;
  constexpr bool floats = Kind == Activations::Float;
  constexpr bool codes = Kind == Activations::Int8;
  constexpr Index chains = floats ? float_chains : 1;
  constexpr Index most_panels = codes ? tile_panels : 1;
  constexpr auto widest = static_cast<int>(tile_width_of<Isa>(Kind));
  const PanelView& weights = task.weights;
  const PackedActivations& inputs = task.inputs;
  alignas(alignment) float sums[most_panels][block_tokens * chains * panel_rows];
  [[maybe_unused]] alignas(alignment)
      std::conditional_t<codes, CodeBlock<Isa>,
                         std::conditional_t<floats, float[block_inputs * panel_rows], char>>
          blocks[most_panels];

  const Index first_token = inputs.first_token(first_tile);
  const Index tokens =
      inputs.first_token(end_tile - 1) + inputs.width_of(end_tile - 1) - first_token;
  const Index together = end_tile - first_tile == 1 ? 1 : most_panels;
  for (Index panel = task.first_panel; panel < task.end_panel; panel += together) {
    const Index panels = std::min(together, task.end_panel - panel);
    for (Index p = 0; p < panels; ++p) {
      std::fill(sums[p], sums[p] + tokens * chains * panel_rows, 0.0F);
    }
    for (Index first = 0; first < weights.cols; first += block_inputs) {
      const Index count = std::min(block_inputs, weights.cols - first);
      for (Index p = 0; p < panels; ++p) {
        if constexpr (floats) unpack_floats<Isa, F>(weights, panel + p, first, count, blocks[p]);
        if constexpr (codes) {
          unpack_codes<Isa, F, Isa::signed_codes, true>(weights, panel + p, first, count,
                                                        blocks[p]);
        }
      }
      for (Index tile = first_tile; tile < end_tile; ++tile) {
        for (Index p = 0; p < panels; ++p) {
          float* tile_sums =
              sums[p] + (inputs.first_token(tile) - first_token) * chains * panel_rows;
          with_width<Isa, widest>(inputs.width_of(tile), [&](auto width) {
            if constexpr (floats) {
              multiply_floats<Isa, width>(
                  blocks[p], inputs.tile_inputs<float>(tile) + first * width, count, tile_sums);
            } else if constexpr (codes) {
              // (Signed bytes are multiplied as codes below 128 are.)
              multiply_codes<Isa, Isa::signed_codes ? 7 : code_bits<F>, F::has_offset, width>(
                  blocks[p], segment_inputs(weights.layout), first, count, inputs, tile, tile_sums);
            } else {
              multiply_pairs<Isa, width>(
                  weights.codes(panel + p) +
                      static_cast<std::size_t>(first / F::unit_inputs) * F::unit_bytes,
                  inputs.tile_inputs<BFloat16>(tile) + first * width, count, tile_sums);
            }
          });
        }
      }
    }
    const Index end_token = std::min(inputs.tokens, first_token + tokens);
    for (Index token = first_token; token < end_token; ++token) {
      for (Index p = 0; p < panels; ++p) {
        const float* sum = sums[p] + (token - first_token) * chains * panel_rows;
        Floats results = Floats::load(sum);
        if constexpr (floats) results = results + Floats::load(sum + panel_rows);
        store_rows<Isa>(task, panel + p, token, results);
      }
    }
  }
}

/// Panel by panel, for a single token.
template <simd::InstructionSet Isa, WeightFormat F, Activations Kind>
inline void multiply_token(const MatmulTask& task) noexcept {
  const Index tile = task.first_tile;
  for (Index panel = task.first_panel; panel < task.end_panel; ++panel) {
    simd::Floats<Isa> results;
    if constexpr (Kind == Activations::BFloat16) {
      results =
          multiply_panel_pairs<Isa>(task.weights, panel, task.inputs.tile_inputs<BFloat16>(tile));
    } else {
      results = multiply_panel<Isa, F>(task.weights, panel, task.inputs, tile);
    }
    store_rows<Isa>(task, panel, task.inputs.first_token(tile), results);
  }
}

/// On matrix registers, tiles from `tile` on; returns the first tile that is left to do.
template <simd::TileInstructionSet Isa, WeightFormat F, Activations Kind>
inline Index multiply_on_tiles(const MatmulTask& task, Index tile) noexcept {
  const auto store = [&](Index panel, Index token, const simd::Floats<Isa>& results) {
    store_rows<Isa>(task, panel, token, results);
  };
  Index end = task.end_tile;
  if (task.inputs.width_of(end - 1) < simd::tile_side) --end;
  if constexpr (Kind == Activations::Int8) {
    if (tile >= end) return tile;
    if (end - tile == 1) {
      CodeTileScratch<Isa, 1> scratch;
      multiply_code_tiles<Isa, F>(task, tile, end, scratch, store);
      return end;
    }
    CodeTileScratch<Isa, tile_panels> scratch;
    for (constexpr Index step = block_tokens / simd::tile_side; tile < end; tile += step) {
      multiply_code_tiles<Isa, F>(task, tile, std::min(end, tile + step), scratch, store);
    }
    return end;
  } else {
    PairTileScratch scratch;
    if (end - tile == 1) {
      multiply_pair_tiles<Isa, 1>(task, tile, end, scratch, store);
      tile = end;
    }
    constexpr Index step = block_tokens / simd::tile_side;
    for (; tile < end; tile += step) {
      multiply_pair_tiles<Isa, tile_panels>(task, tile, std::min(end, tile + step), scratch, store);
    }
    if (end < task.end_tile) {
      multiply_pair_tiles<Isa, 1>(task, end, task.end_tile, scratch, store);
    }
    return task.end_tile;
  }
}

}  // namespace matmul_detail

/// Whether a format takes inputs of that kind.
template <simd::InstructionSet Isa, WeightFormat F>
[[nodiscard]] constexpr bool takes(Activations kind) noexcept {
  return kind == Activations::Float || (kind == Activations::Int8 && IntegerWeightFormat<F>) ||
         (kind == Activations::BFloat16 && Isa::has_dot2 && std::same_as<F, BFloat16Format>);
}

/// Computes a task. The caller's tiles are tile_width_of<Isa>(Kind) tokens wide; Kind is the kind
/// of its inputs.
template <simd::InstructionSet Isa, WeightFormat F, Activations Kind>
requires(takes<Isa, F>(Kind)) void matmul(const MatmulTask& task) noexcept {
  constexpr bool pairs = Kind == Activations::BFloat16;
  Index tile = task.first_tile;
  if (tile == task.end_tile) return;
  if constexpr (simd::TileInstructionSet<Isa> && Kind != Activations::Float) {
    if (pairs || task.end_tile - tile > 1 || task.inputs.width_of(tile) == simd::tile_side) {
      tile = matmul_detail::multiply_on_tiles<Isa, F, Kind>(task, tile);
      if (tile == task.end_tile) return;
    }
  }
  if constexpr (!(pairs && simd::TileInstructionSet<Isa>)) {
    // (Integer weights meet float inputs only in comparisons with other implementations.)
    constexpr bool streams = Kind != Activations::Float || FloatWeightFormat<F>;
    if (streams && task.end_tile - task.first_tile == 1 && task.inputs.tokens_in(tile) == 1) {
      if constexpr (streams) matmul_detail::multiply_token<Isa, F, Kind>(task);
      return;
    }
    constexpr Index tiles_at_once = block_tokens / tile_width_of<Isa>(Kind);
    for (; tile < task.end_tile; tile += tiles_at_once) {
      matmul_detail::multiply_blocks<Isa, F, Kind>(task, tile,
                                                   std::min(task.end_tile, tile + tiles_at_once));
    }
  }
}

}  // namespace nibble
