// The micro-kernel of float activations: a block of unpacked weights times a tile of tokens.
#pragma once

#include <algorithm>
#include <type_traits>

#include <nibble/format/format.hpp>
#include <nibble/kernels/matmul_task.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// Running sums of a token and panel: even and odd inputs apart, so that one token's additions
/// need not wait for each other; together at the end.
inline constexpr Index float_chains = 2;

/// sums[token][chain] += weights * inputs over `count` inputs. weights: [count][16]; inputs: runs
/// of [Width][16].
template <simd::InstructionSet Isa, int Width>
[[gnu::flatten]] inline void multiply_floats(const float* weights, const float* inputs, Index count,
                                             float* sums) noexcept {
  using Floats = simd::Floats<Isa>;
  constexpr Index run = run_bytes / static_cast<Index>(sizeof(float));
  constexpr std::integral_constant<int, 0> even;
  constexpr std::integral_constant<int, 1> odd;
  Floats accumulators[float_chains * Width];  // [token][chain]
  simd::unroll<float_chains * Width>(
      [&](auto n) { accumulators[n] = Floats::load(sums + n * panel_rows); });
  const auto multiply = [&](auto chain, const float* weight_at, const float* input) {
    const Floats weight = Floats::load(weight_at);
    simd::unroll<Width>([&](auto n) {
      accumulators[2 * n + chain] =
          fma(weight, Floats::broadcast(input[n * run]), accumulators[2 * n + chain]);
    });
  };
  for (Index first = 0; first < count; first += run) {
    const float* weight = weights + first * panel_rows;
    const float* input = inputs + first * Width;
    const Index end = std::min(run, count - first);
    for (Index i = 0; i + 1 < end; i += 2) {
      multiply(even, weight + i * panel_rows, input + i);
      multiply(odd, weight + (i + 1) * panel_rows, input + i + 1);
    }
    if (end % 2 == 1) multiply(even, weight + (end - 1) * panel_rows, input + end - 1);
  }
  simd::unroll<float_chains * Width>([&](auto n) { accumulators[n].store(sums + n * panel_rows); });
}

/// The products of a panel with one token, weights unpacked in registers as they come from memory;
/// the same bits as block by block.
template <simd::InstructionSet Isa, FloatWeightFormat F>
[[nodiscard, gnu::flatten]] inline simd::Floats<Isa> multiply_panel(const PanelView& view,
                                                                    Index panel,
                                                                    const PackedActivations& inputs,
                                                                    Index tile) noexcept {
  using Floats = simd::Floats<Isa>;
  constexpr Index step = 8;
  constexpr auto unit_inputs = static_cast<int>(F::unit_inputs);
  static_assert(unit_inputs <= 2);
  Floats sums[float_chains];
  simd::unroll<float_chains>([&](auto c) { sums[c] = Floats::broadcast(0.0F); });
  const float* input = inputs.tile_inputs<float>(tile);
  const std::byte* unit = view.codes(panel);
  const auto multiply = [&](auto first_input, auto count) {
    Floats weights[unit_inputs];
    F::template unpack<Isa>(unit, weights);
    simd::unroll<count>([&](auto i) {
      Floats& sum = sums[(first_input + i) % float_chains];
      sum = fma(weights[i], Floats::broadcast(input[i]), sum);
    });
    unit += F::unit_bytes;
    input += unit_inputs;
  };
  Index i = 0;
  for (; i + step <= view.cols; i += step) {
    constexpr auto bytes = static_cast<std::size_t>(step / unit_inputs) * F::unit_bytes;
    simd::prefetch_ahead<Isa>(unit, bytes);
    simd::unroll<static_cast<int>(step / unit_inputs)>([&](auto u) {
      multiply(std::integral_constant<int, u * unit_inputs>{},
               std::integral_constant<int, unit_inputs>{});
    });
  }
  constexpr std::integral_constant<int, 0> even;
  constexpr std::integral_constant<int, 1> odd;
  constexpr std::integral_constant<int, unit_inputs> whole;
  for (; i + unit_inputs <= view.cols; i += unit_inputs) {
    if (i % 2 == 0) {
      multiply(even, whole);
    } else {
      multiply(odd, whole);
    }
  }
  if (i < view.cols) multiply(even, std::integral_constant<int, 1>{});  // the other is padding
  return sums[0] + sums[1];
}

}  // namespace nibble
