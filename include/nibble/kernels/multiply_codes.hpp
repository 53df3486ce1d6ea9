// The micro-kernels of int8 activations: exact integer sums within a segment, then one conversion.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include <nibble/kernels/unpack_block.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// A segment's map from sums of products to results, in each lane; see GroupMap.
template <simd::InstructionSet Isa>
struct SegmentMap {
  simd::Floats<Isa> scale;
  simd::Floats<Isa> minus_zero;
  simd::Floats<Isa> offset;  // where there are offsets
};

/// result + what a segment adds to it: dots are the sums of code * input, `input_sum` that of the
/// inputs' codes. The integers are below 2^24, so that taking off the zero's part is exact, and
/// gives the same bits as products with codes that were less their zero before (has_zero false).
template <simd::InstructionSet Isa, bool has_zero, bool has_offset>
[[nodiscard]] inline simd::Floats<Isa> add_segment(const simd::Floats<Isa>& result,
                                                   const simd::Ints<Isa>& dots,
                                                   const SegmentMap<Isa>& map, float input_scale,
                                                   float input_sum) noexcept {
  using Floats = simd::Floats<Isa>;
  Floats dot = simd::to_float(dots);
  if constexpr (has_zero) dot = fma(map.minus_zero, Floats::broadcast(input_sum), dot);
  const Floats sum = fma(dot, map.scale * Floats::broadcast(input_scale), result);
  if constexpr (!has_offset) return sum;
  return fma(map.offset, Floats::broadcast(input_scale * input_sum), sum);
}

/// sums[token] += the products of a block of codes, inputs [first, first + count) of a panel, with
/// a tile of `Width` tokens. The codes are below 2^CodeBits.
template <simd::InstructionSet Isa, int CodeBits, bool has_offset, int Width>
[[gnu::flatten]] inline void multiply_codes(const CodeBlock<Isa>& block, Index segment_size,
                                            Index first, Index count,
                                            const PackedActivations& inputs, Index tile,
                                            float* sums) noexcept {
  using Floats = simd::Floats<Isa>;
  using Ints = simd::Ints<Isa>;
  const std::int8_t* codes = inputs.tile_inputs<std::int8_t>(tile);
  const float* scales = inputs.tile_scales(tile);
  const float* input_sums = inputs.tile_sums(tile, segment_size);
  for (Index segment = 0; segment * segment_size < count; ++segment) {
    const Index start = segment * segment_size;
    const Index end = std::min(start + segment_size, count);
    Ints dots[Width];
    simd::unroll<Width>([&](auto n) { dots[n] = Ints::broadcast(0); });
    const std::uint32_t* quads = block.quads[start / 4];
    const std::int8_t* input =
        codes + (first + start) / run_bytes * run_bytes * Width + (first + start) % run_bytes;
    const auto multiply = [&](Index q) {
      const auto quad = simd::Words<Isa>::load(quads + q * panel_rows);
      simd::unroll<Width>([&](auto n) {
        dots[n] = simd::dot4<CodeBits>(dots[n], quad, input + 4 * q + n * run_bytes);
      });
    };
    Index i = start;
    for (; i + 32 <= end; i += 32) {
      simd::unroll<8>([&](auto q) { multiply(q); });
      quads += 8 * panel_rows;
      input += (i + 32) % run_bytes == 0 ? run_bytes * Width - 32 : Index{32};
    }
    for (Index q = 0; i < end; i += 4, ++q) multiply(q);

    const SegmentMap<Isa> map{Floats::load(block.scales[segment]),
                              Floats::load(block.minus_zeros[segment]),
                              has_offset ? Floats::load(block.offsets[segment]) : Floats{}};
    const float* scale = scales + (first + start) / activation_group * Width;
    const float* input_sum = input_sums + (first + start) / segment_size * Width;
    simd::unroll<Width>([&](auto n) {
      float* sum = sums + n * panel_rows;
      add_segment<Isa, true, has_offset>(Floats::load(sum), dots[n], map, scale[n], input_sum[n])
          .store(sum);
    });
  }
}

/// Copies a panel's header before its codes are used, so that the panel is read as one stream, and
/// like them asks for what lies ahead.
template <simd::InstructionSet Isa>
inline void read_header(const PanelView& view, Index panel, std::byte* copy) noexcept {
  const std::byte* header = view.panel(panel);
  for (std::size_t line = 0; line < view.layout.header_bytes; line += simd::cache_line) {
    simd::prefetch<Isa>(header + line + simd::prefetch_distance);
    std::memcpy(copy + line, header + line, simd::cache_line);
  }
}

/// The products of a panel with one token, codes unpacked in registers as they come from memory;
/// the same bits as block by block.
template <simd::InstructionSet Isa, IntegerWeightFormat F>
[[nodiscard, gnu::flatten]] inline simd::Floats<Isa> multiply_panel(const PanelView& view,
                                                                    Index panel,
                                                                    const PackedActivations& inputs,
                                                                    Index tile) noexcept {
  using Floats = simd::Floats<Isa>;
  using Ints = simd::Ints<Isa>;
  constexpr std::size_t most_header_bytes = 16384;
  alignas(alignment) std::byte copy[most_header_bytes];
  const std::byte* header = view.panel(panel);
  if (view.layout.header_bytes <= most_header_bytes) {
    read_header<Isa>(view, panel, copy);
    header = copy;
  }
  const std::int8_t* input = inputs.tile_inputs<std::int8_t>(tile);
  const float* scales = inputs.tile_scales(tile);
  const Index segment_size = segment_inputs(view.layout);
  const float* input_sums = inputs.tile_sums(tile, segment_size);
  const std::byte* unit = view.codes(panel);

  Floats result = Floats::broadcast(0.0F);
  Index group = 0;
  Index group_end = view.layout.group_size;
  for (Index start = 0; start < view.cols; start += segment_size, ++input_sums) {
    if (start == group_end) {
      ++group;
      group_end += view.layout.group_size;
    }
    const Index end = std::min(start + segment_size, view.cols);
    constexpr int chains = 4;  // integers: their order does not matter
    Ints dots[chains];
    simd::unroll<chains>([&](auto c) { dots[c] = Ints::broadcast(0); });
    const auto multiply_unit = [&](auto first_chain) {
      simd::prefetch_ahead<Isa>(unit, F::unit_bytes);
      constexpr int quads_in_unit = static_cast<int>(F::unit_inputs) / 4;
      simd::Words<Isa> quads[quads_in_unit];
      F::template unpack<Isa>(unit, quads);
      simd::unroll<quads_in_unit>([&](auto q) {
        Ints& dot = dots[(first_chain + q) % chains];
        dot = simd::dot4<code_bits<F>>(dot, quads[q], input + 4 * q);
      });
      unit += F::unit_bytes;
      input += F::unit_inputs;
    };
    Index i = start;
    for (; i + 32 <= end; i += 32) {
      constexpr int units = 32 / static_cast<int>(F::unit_inputs);
      simd::unroll<units>([&](auto u) {
        multiply_unit(std::integral_constant<int, u* static_cast<int>(F::unit_inputs) / 4>{});
      });
    }
    for (; i < end; i += F::unit_inputs) multiply_unit(std::integral_constant<int, 0>{});

    const GroupMap<Isa> map = F::template load_group<Isa>(header, view.layout, group);
    const SegmentMap<Isa> segment{map.scale, simd::to_float(Ints::broadcast(0) - map.zero),
                                  F::has_offset ? map.offset : Floats{}};
    result = add_segment<Isa, true, F::has_offset>(
        result, (dots[0] + dots[1]) + (dots[2] + dots[3]), segment,
        scales[start / activation_group], *input_sums);
  }
  return result;
}

}  // namespace nibble
