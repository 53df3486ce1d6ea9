// The micro-kernel of int8 activations on matrix registers: panels times 16 tokens.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <nibble/kernels/multiply_codes.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// What multiply_code_tiles works in.
template <simd::TileInstructionSet Isa, int Panels>
struct CodeTileScratch {
  CodeBlock<Isa> blocks[Panels];
  alignas(alignment) float sums[Panels][block_tokens][panel_rows];
  // Of two segments at a time: [segment][panel][token][row]
  alignas(alignment) std::int32_t dots[2][Panels][simd::tile_side][panel_rows];
};

/// dots[panel] = the products of a segment with 16 tokens. `depth`: inputs that the tiles are
/// configured for; `inputs`: where the segment begins in the tile's runs.
template <simd::TileInstructionSet Isa, int Panels>
inline void multiply_segment(const CodeTileScratch<Isa, Panels>& scratch, Index start, Index size,
                             Index depth, const std::int8_t* inputs,
                             std::int32_t (&dots)[Panels][simd::tile_side][panel_rows]) noexcept {
  simd::unroll<Panels>([&](auto p) { simd::zero_tile<Isa>(simd::Tile<p>{}); });
  for (Index i = 0; i < size; i += depth) {
    simd::load_tile<Isa>(simd::Tile<4>{}, inputs + i * simd::tile_side, run_bytes);
    simd::unroll<Panels>([&](auto p) {
      constexpr simd::Tile<5 + p % 3> weights;
      simd::load_tile<Isa>(weights, scratch.blocks[p].quads[(start + i) / 4], run_bytes);
      simd::multiply_bytes<Isa>(simd::Tile<p>{}, simd::Tile<4>{}, weights);
    });
  }
  simd::unroll<Panels>([&](auto p) { simd::store_tile<Isa>(simd::Tile<p>{}, dots[p][0]); });
}

/// Weights that will be needed next: asked for little by little, so that memory works while the
/// registers multiply.
struct ComingWeights {
  const std::byte* address = nullptr;
  int lines = 0;  // that each token asks for
};

/// Adds `Segments` segments' products to the sums of a panel and 16 tokens.
template <simd::TileInstructionSet Isa, IntegerWeightFormat F, int Segments, int Panels>
[[gnu::flatten]] inline void add_segments(const CodeTileScratch<Isa, Panels>& scratch, int panel,
                                          Index segment, const float* const (&scales)[2],
                                          const float* const (&input_sums)[2],
                                          float (*sums)[panel_rows],
                                          ComingWeights& coming) noexcept {
  using Floats = simd::Floats<Isa>;
  constexpr bool has_zero = !fits_signed_bytes<F>;
  const CodeBlock<Isa>& block = scratch.blocks[panel];
  SegmentMap<Isa> maps[Segments];
  simd::unroll<Segments>([&](auto s) {
    maps[s].scale = Floats::load(block.scales[segment + s]);
    if constexpr (has_zero) maps[s].minus_zero = Floats::load(block.minus_zeros[segment + s]);
    if constexpr (F::has_offset) maps[s].offset = Floats::load(block.offsets[segment + s]);
  });
  for (int n = 0; n < simd::tile_side; ++n) {
    for (int line = 0; line < coming.lines; ++line, coming.address += simd::cache_line) {
      simd::prefetch<Isa>(coming.address);
    }
    Floats sum = Floats::load(sums[n]);
    simd::unroll<Segments>([&](auto s) {
      sum = add_segment<Isa, has_zero, F::has_offset>(
          sum, simd::Ints<Isa>::load(scratch.dots[s][panel][n]), maps[s], scales[s][n],
          input_sums[s][n]);
    });
    sum.store(sums[n]);
  }
}

/// The products of a task's panels with tiles [first_tile, end_tile), all 16 tokens wide and
/// together at most block_tokens. finish(panel, token, results) takes the results.
/// Panels: how many are multiplied together, which share the loading of the inputs; 1 reads the
/// weights as one stream.
template <simd::TileInstructionSet Isa, IntegerWeightFormat F, int Panels, class Finish>
inline void multiply_code_tiles(const MatmulTask& task, Index first_tile, Index end_tile,
                                CodeTileScratch<Isa, Panels>& scratch, Finish&& finish) noexcept {
  const PanelView& weights = task.weights;
  const PackedActivations& inputs = task.inputs;
  const Index size = segment_inputs(weights.layout);
  const Index depth = std::min(size, run_bytes);
  const Index first_token = inputs.first_token(first_tile);
  const Index tokens = inputs.first_token(end_tile) - first_token;

  simd::configure_tiles<Isa>(simd::tile_side, static_cast<int>(depth));
  for (Index panel = task.first_panel; panel < task.end_panel; panel += Panels) {
    const Index panels = std::min(Index{Panels}, task.end_panel - panel);
    for (auto& sums : scratch.sums) {
      std::memset(sums, 0, static_cast<std::size_t>(tokens) * sizeof sums[0]);
    }
    for (Index first = 0; first < weights.cols; first += block_inputs) {
      const Index count = std::min(block_inputs, weights.cols - first);
      for (Index p = 0; p < Panels; ++p) {
        // (The last group may have fewer panels; what is computed twice then is not looked at.)
        unpack_codes<Isa, F, true, Panels == 1>(weights, std::min(panel + p, task.end_panel - 1),
                                                first, count, scratch.blocks[p]);
      }
      // What each panel goes on with: its next block, or the panel of the next group. (A panel
      // alone is asked for where it is unpacked.)
      ComingWeights coming[Panels];
      const Index token_loops = simd::tile_side * divide_up(count, 2 * size);
      const Index lines =
          divide_up(block_inputs / F::unit_inputs * static_cast<Index>(F::unit_bytes),
                    simd::cache_line * token_loops);
      for (Index p = 0; p < panels; ++p) {
        const bool last = first + block_inputs >= weights.cols;
        coming[p].address = last ? weights.panel(panel + Panels + p)
                                 : weights.codes(panel + p) + (first + block_inputs) /
                                                                  F::unit_inputs *
                                                                  static_cast<Index>(F::unit_bytes);
        coming[p].lines = Panels == 1 ? 0 : static_cast<int>(lines);
      }
      for (Index tile = first_tile; tile < end_tile; ++tile) {
        const auto* tile_inputs = inputs.tile_inputs<std::int8_t>(tile);
        const Index token = inputs.first_token(tile) - first_token;
        for (Index segment = 0; segment * size < count; segment += 2) {
          const float* scales[2];
          const float* input_sums[2];
          const int segments = (segment + 1) * size < count ? 2 : 1;
          for (int s = 0; s < segments; ++s) {
            const Index start = (segment + s) * size;
            const Index col = first + start;
            multiply_segment<Isa>(
                scratch, start, std::min(size, round_up(count - start, depth)), depth,
                tile_inputs + col / run_bytes * run_bytes * simd::tile_side + col % run_bytes,
                scratch.dots[s]);
            scales[s] = inputs.tile_scales(tile) + col / activation_group * simd::tile_side;
            input_sums[s] = inputs.tile_sums(tile, size) + col / size * simd::tile_side;
          }
          for (int p = 0; p < panels; ++p) {
            float(*sums)[panel_rows] = scratch.sums[p] + token;
            if (segments == 2) {
              add_segments<Isa, F, 2>(scratch, p, segment, scales, input_sums, sums, coming[p]);
            } else {
              add_segments<Isa, F, 1>(scratch, p, segment, scales, input_sums, sums, coming[p]);
            }
          }
        }
        for (ComingWeights& each : coming) each.lines = 0;  // once a block
      }
    }
    // Token by token, so that what lies together is written together.
    for (Index token = 0; token < std::min(tokens, inputs.tokens - first_token); ++token) {
      for (Index p = 0; p < panels; ++p) {
        finish(panel + p, first_token + token, simd::Floats<Isa>::load(scratch.sums[p][token]));
      }
    }
  }
  simd::release_tiles<Isa>();
}

}  // namespace nibble
