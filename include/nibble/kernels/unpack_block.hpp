// Blocks of a panel's weights, unpacked into the L1 cache for all tokens that they meet.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <nibble/format/format.hpp>
#include <nibble/kernels/matmul_task.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// Inputs that share the scales of weights and int8 activations; a multiple of 32.
[[nodiscard]] constexpr Index segment_inputs(const PanelLayout& layout) noexcept {
  return layout.group_size == 32 || layout.group_size == 64 ? layout.group_size : activation_group;
}

/// The codes of up to 256 inputs of a panel, and the maps from their sums of products to results.
template <simd::InstructionSet Isa>
struct CodeBlock {
  static constexpr Index max_segments = block_inputs / activation_block;

  alignas(alignment) std::uint32_t quads[block_inputs / 4][panel_rows];  // bytes of four inputs
  // By segment; of GroupMap, the zero negated and as a float.
  alignas(alignment) float scales[max_segments][panel_rows];
  alignas(alignment) float minus_zeros[max_segments][panel_rows];
  alignas(alignment) float offsets[max_segments][panel_rows];
};

/// As much as dot4 asks about codes: whether they use the top bit of a byte.
template <IntegerWeightFormat F>
inline constexpr int code_bits = F::max_code < 128 ? 7 : 8;

/// Whether codes minus their zero always fit into signed bytes.
template <IntegerWeightFormat F>
inline constexpr bool fits_signed_bytes = F::has_offset || code_bits<F> < 8;

/// Unpacks inputs [first, first + count); `first` is a multiple of 256. Signed: as signed bytes,
/// less their zero (or 128, where that does not fit), up to a multiple of 64 inputs, and
/// `minus_zeros` is what is left to subtract. Streams: asks for the codes ahead of those read.
template <simd::InstructionSet Isa, IntegerWeightFormat F, bool Signed, bool Streams>
[[gnu::flatten]] inline void unpack_codes(const PanelView& view, Index panel, Index first,
                                          Index count, CodeBlock<Isa>& block) noexcept {
  using Words = simd::Words<Isa>;
  using Ints = simd::Ints<Isa>;
  const std::byte* unit =
      view.codes(panel) + static_cast<std::size_t>(first / F::unit_inputs) * F::unit_bytes;
  const Index size = segment_inputs(view.layout);
  for (Index segment = 0; segment * size < count; ++segment) {
    const Index group = (first + segment * size) / view.layout.group_size;
    const GroupMap<Isa> map = F::template load_group<Isa>(view.panel(panel), view.layout, group);
    const Ints taken = !Signed                ? Ints::broadcast(0)
                       : fits_signed_bytes<F> ? map.zero
                                              : Ints::broadcast(128);
    map.scale.store(block.scales[segment]);
    simd::to_float(taken - map.zero).store(block.minus_zeros[segment]);
    if constexpr (F::has_offset) map.offset.store(block.offsets[segment]);

    const Words taken_bytes =
        simd::bitwise_cast<std::uint32_t>(taken * Ints::broadcast(0x01010101));
    const Index end = std::min((segment + 1) * size, count);
    for (Index i = segment * size; i < end; i += F::unit_inputs, unit += F::unit_bytes) {
      if constexpr (Streams) simd::prefetch_ahead<Isa>(unit, F::unit_bytes);
      Words quads[F::unit_inputs / 4];
      F::template unpack<Isa>(unit, quads);
      simd::unroll<static_cast<int>(F::unit_inputs / 4)>([&](auto q) {
        if constexpr (Signed) quads[q] = simd::subtract_bytes(quads[q], taken_bytes);
        quads[q].store(block.quads[i / 4 + q]);
      });
    }
  }
  if constexpr (Signed) {
    const Index filled = round_up(count, F::unit_inputs) / 4;
    const Index wanted = round_up(count, activation_padding) / 4;
    for (Index quad = filled; quad < wanted; ++quad) Words::broadcast(0).store(block.quads[quad]);
  }
}

/// The weights of inputs [first, first + count) of a panel as floats, [count][16].
template <simd::InstructionSet Isa, WeightFormat F>
[[gnu::flatten]] inline void unpack_floats(const PanelView& view, Index panel, Index first,
                                           Index count, float* out) noexcept {
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

}  // namespace nibble
