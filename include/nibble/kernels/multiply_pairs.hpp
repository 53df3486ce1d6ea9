// The micro-kernels of bfloat16 activations: bfloat16 weights as they lie, multiplied in pairs.
#pragma once

#include <algorithm>
#include <cstddef>

#include <nibble/format/float_format.hpp>
#include <nibble/kernels/matmul_task.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// sums[token] += weights * inputs over `count` inputs. weights: [count / 2][16][2]; inputs: runs
/// of [Width][32].
template <simd::Dot2InstructionSet Isa, int Width>
[[gnu::flatten]] inline void multiply_pairs(const std::byte* weights, const BFloat16* inputs,
                                            Index count, float* sums) noexcept {
  using Floats = simd::Floats<Isa>;
  constexpr Index run = run_bytes / static_cast<Index>(sizeof(BFloat16));
  Floats accumulators[Width];
  simd::unroll<Width>([&](auto n) { accumulators[n] = Floats::load(sums + n * panel_rows); });
  for (Index first = 0; first < count; first += run) {
    const BFloat16* input = inputs + first * Width;
    const Index end = std::min(run, count - first);
    for (Index i = 0; i < end; i += 2, weights += BFloat16Format::unit_bytes) {
      const auto pairs = simd::Words<Isa>::load(reinterpret_cast<const std::uint32_t*>(weights));
      simd::unroll<Width>([&](auto n) {
        accumulators[n] = simd::dot2(accumulators[n], pairs, input + n * run + i);
      });
    }
  }
  simd::unroll<Width>([&](auto n) { accumulators[n].store(sums + n * panel_rows); });
}

/// The products of a panel with one token; the same bits as block by block.
template <simd::Dot2InstructionSet Isa>
[[nodiscard, gnu::flatten]] inline simd::Floats<Isa> multiply_panel_pairs(
    const PanelView& view, Index panel, const BFloat16* inputs) noexcept {
  auto sum = simd::Floats<Isa>::broadcast(0.0F);
  const std::byte* weights = view.codes(panel);
  constexpr auto bytes = BFloat16Format::unit_bytes;
  const auto multiply = [&] {
    const auto pairs = simd::Words<Isa>::load(reinterpret_cast<const std::uint32_t*>(weights));
    simd::prefetch<Isa>(weights + simd::prefetch_distance);
    sum = simd::dot2(sum, pairs, inputs);
    weights += bytes;
    inputs += 2;
  };
  Index i = 0;
  for (; i + 8 <= view.cols; i += 8) simd::unroll<4>([&](auto) { multiply(); });
  for (; i < view.cols; i += 2) multiply();
  return sum;
}

}  // namespace nibble
