// output = input * weights^T for every format, one micro-kernel for any number of tokens.
//
// A panel's codes are unpacked block by block into the L1 cache and multiplied with every tile of
// tokens. A lane is one output row and takes its inputs in ascending order whatever the tile, so
// the bits of a result depend on its row and its token alone.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <nibble/format/format.hpp>
#include <nibble/kernels/activations.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// A part of a matmul: some panels of the weights times some tiles of the inputs.
struct MatmulTask {
  PanelView weights;
  PackedActivations inputs;
  float* output = nullptr;  // [tokens][output_stride], the outputs of row r at column r
  Index output_stride = 0;
  Index first_panel = 0;
  Index end_panel = 0;
  Index first_tile = 0;
  Index end_tile = 0;
};

/// Tokens in a tile: as many as their accumulators fit into the registers.
template <simd::InstructionSet Isa>
inline constexpr Index tile_width_of = simd::Floats<Isa>::register_count == 1   ? 16
                                       : simd::Floats<Isa>::register_count == 2 ? 4
                                                                                : 2;

namespace matmul_detail {

/// Inputs that are unpacked at a time: 16 KB as floats, and whole groups of every group size.
inline constexpr Index block_inputs = 256;
/// Tokens whose running sums are kept at a time: 16 KB.
inline constexpr Index block_tokens = 256;

/// The weights of inputs [first, first + count) of a panel as floats, [count][16].
template <simd::InstructionSet Isa, WeightFormat F>
inline void unpack_floats(const PanelView& view, Index panel, Index first, Index count,
                          float* out) noexcept {
  if constexpr (FloatWeightFormat<F>) {
    const std::byte* unit =
        view.codes(panel) + static_cast<std::size_t>(first / F::unit_inputs) * F::unit_bytes;
    for (Index i = 0; i < count; i += F::unit_inputs, unit += F::unit_bytes) {
      simd::Floats<Isa> weights[F::unit_inputs];
      F::template unpack<Isa>(unit, weights);
      simd::unroll<static_cast<int>(F::unit_inputs)>(
          [&](auto j) { weights[j].store(out + (i + j) * panel_rows); });
    }
  } else {
    const Index group_size = view.layout.group_size;
    for (Index start = 0; start < count;) {
      const Index group = (first + start) / group_size;
      const Index end = std::min(count, (group + 1) * group_size - first);
      const GroupMap<Isa> map = F::template load_group<Isa>(view.panel(panel), view.layout, group);
      for (; start < end; start += F::unit_inputs) {
        simd::Words<Isa> quads[F::unit_inputs / 4];
        F::template unpack<Isa>(
            view.codes(panel) +
                static_cast<std::size_t>((first + start) / F::unit_inputs) * F::unit_bytes,
            quads);
        simd::unroll<static_cast<int>(F::unit_inputs)>([&](auto i) {
          const auto code = simd::bitwise_cast<std::int32_t>((quads[i / 4] >> (8 * (i % 4))) &
                                                             simd::Words<Isa>::broadcast(0xFFU));
          const auto level = simd::to_float(code - map.zero);
          const auto weight = F::has_offset ? fma(map.scale, level, map.offset) : map.scale * level;
          weight.store(out + (start + i) * panel_rows);
        });
      }
    }
  }
}

/// sums[token] += weights * inputs over `count` inputs.
template <simd::InstructionSet Isa, int Width>
inline void multiply_floats(const float* weights, const float* inputs, Index count,
                            float* sums) noexcept {
  using Floats = simd::Floats<Isa>;
  Floats accumulators[Width];
  simd::unroll<Width>([&](auto n) { accumulators[n] = Floats::load(sums + n * panel_rows); });
  for (Index i = 0; i < count; ++i) {
    const Floats weight = Floats::load(weights + i * panel_rows);
    simd::unroll<Width>([&](auto n) {
      accumulators[n] = fma(weight, Floats::broadcast(inputs[i * Width + n]), accumulators[n]);
    });
  }
  simd::unroll<Width>([&](auto n) { accumulators[n].store(sums + n * panel_rows); });
}

/// The codes of inputs [first, first + count) of a panel as bytes, [count / 4][16][4].
template <simd::InstructionSet Isa, IntegerWeightFormat F>
inline void unpack_codes(const PanelView& view, Index panel, Index first, Index count,
                         std::uint32_t* out) noexcept {
  const std::byte* unit =
      view.codes(panel) + static_cast<std::size_t>(first / F::unit_inputs) * F::unit_bytes;
  for (Index i = 0; i < count; i += F::unit_inputs, unit += F::unit_bytes) {
    simd::Words<Isa> quads[F::unit_inputs / 4];
    F::template unpack<Isa>(unit, quads);
    simd::unroll<static_cast<int>(F::unit_inputs / 4)>(
        [&](auto q) { quads[q].store(out + (i / 4 + q) * panel_rows); });
  }
}

/// sums[token] += the part of the products that one block of inputs contributes: within a segment
/// (inputs that share both scales) exact integers, then one conversion.
template <simd::InstructionSet Isa, IntegerWeightFormat F, int Width>
inline void multiply_codes(const PanelView& view, Index panel, const std::uint32_t* codes,
                           Index first, Index count, const PackedActivations& inputs, Index tile,
                           float* sums) noexcept {
  using Floats = simd::Floats<Isa>;
  using Ints = simd::Ints<Isa>;
  Floats outputs[Width];
  simd::unroll<Width>([&](auto n) { outputs[n] = Floats::load(sums + n * panel_rows); });
  const Index segment = std::min(view.layout.group_size, activation_group);
  for (Index start = 0; start < count; start += segment) {
    const Index col = first + start;
    const Index length = std::min(segment, count - start);
    Ints dots[Width];
    simd::unroll<Width>([&](auto n) { dots[n] = Ints::broadcast(0); });
    const std::int8_t* quad_inputs = inputs.tile_codes(tile) + col * Width;
    for (Index quad = start / 4; quad < divide_up(start + length, Index{4}); ++quad) {
      const auto weight = simd::Words<Isa>::load(codes + quad * panel_rows);
      simd::unroll<Width>(
          [&](auto n) { dots[n] = simd::dot4(dots[n], weight, quad_inputs + 4 * n); });
      quad_inputs += 4 * Width;
    }
    std::int32_t totals[Width] = {};
    for (Index block = col / activation_block; block < divide_up(col + length, activation_block);
         ++block) {
      for (int n = 0; n < Width; ++n) totals[n] += inputs.tile_sums(tile)[block * Width + n];
    }
    const GroupMap<Isa> map =
        F::template load_group<Isa>(view.panel(panel), view.layout, col / view.layout.group_size);
    const float* scales = inputs.tile_scales(tile) + col / activation_group * Width;
    simd::unroll<Width>([&](auto n) {
      const Floats dot = simd::to_float(dots[n] - map.zero * Ints::broadcast(totals[n]));
      outputs[n] = fma(dot, map.scale * Floats::broadcast(scales[n]), outputs[n]);
      if constexpr (F::has_offset) {
        const float total = scales[n] * static_cast<float>(totals[n]);
        outputs[n] = fma(map.offset, Floats::broadcast(total), outputs[n]);
      }
    });
  }
  simd::unroll<Width>([&](auto n) { outputs[n].store(sums + n * panel_rows); });
}

/// Calls body(integral constant) with the width of a tile: a power of two up to tile_width_of.
template <simd::InstructionSet Isa, int Width = static_cast<int>(tile_width_of<Isa>), class Body>
inline void with_width(Index width, Body&& body) noexcept {
  if constexpr (Width > 1) {
    if (width < Width) return with_width<Isa, Width / 2>(width, body);
  }
  body(std::integral_constant<int, Width>{});
}

}  // namespace matmul_detail

/// Computes a task. The caller's tiles are tile_width_of<Isa> tokens wide; Kind is the kind of
/// its inputs.
template <simd::InstructionSet Isa, WeightFormat F, Activations Kind>
void matmul(const MatmulTask& task) noexcept {
  using namespace matmul_detail;
  const PanelView& weights = task.weights;
  const Index tiles_at_once = block_tokens / tile_width_of<Isa>;
  alignas(alignment) float sums[block_tokens * panel_rows];
  alignas(alignment) std::byte unpacked[sizeof(float) * block_inputs * panel_rows];
  auto* const unpacked_floats = reinterpret_cast<float*>(unpacked);         // [256][16]
  auto* const unpacked_codes = reinterpret_cast<std::uint32_t*>(unpacked);  // [64][16], quads

  for (Index first_tile = task.first_tile; first_tile < task.end_tile;
       first_tile += tiles_at_once) {
    const Index end_tile = std::min(task.end_tile, first_tile + tiles_at_once);
    const Index first_token = task.inputs.first_token(first_tile);
    const auto sums_of = [&](Index tile) {
      return sums + (task.inputs.first_token(tile) - first_token) * panel_rows;
    };
    for (Index panel = task.first_panel; panel < task.end_panel; ++panel) {
      std::fill(sums, sums_of(end_tile - 1) + task.inputs.width_of(end_tile - 1) * panel_rows,
                0.0F);
      for (Index first = 0; first < weights.cols; first += block_inputs) {
        const Index count = std::min(block_inputs, weights.cols - first);
        if constexpr (Kind == Activations::Float) {
          unpack_floats<Isa, F>(weights, panel, first, count, unpacked_floats);
        } else {
          unpack_codes<Isa, F>(weights, panel, first, count, unpacked_codes);
        }
        for (Index tile = first_tile; tile < end_tile; ++tile) {
          with_width<Isa>(task.inputs.width_of(tile), [&](auto width) {
            if constexpr (Kind == Activations::Float) {
              multiply_floats<Isa, width>(unpacked_floats,
                                          task.inputs.tile_values(tile) + first * width, count,
                                          sums_of(tile));
            } else {
              multiply_codes<Isa, F, width>(weights, panel, unpacked_codes, first, count,
                                            task.inputs, tile, sums_of(tile));
            }
          });
        }
      }
      const auto rows =
          static_cast<std::size_t>(std::min(panel_rows, weights.rows - panel * panel_rows));
      for (Index tile = first_tile; tile < end_tile; ++tile) {
        for (Index n = 0; n < task.inputs.tokens_in(tile); ++n) {
          std::copy_n(sums_of(tile) + n * panel_rows, rows,
                      task.output + (task.inputs.first_token(tile) + n) * task.output_stride +
                          panel * panel_rows);
        }
      }
    }
  }
}

}  // namespace nibble
