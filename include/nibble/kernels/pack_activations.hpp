// Packs a tile of inputs for a matmul: as floats, as bfloat16, or as int8 codes with scales and
// sums.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>

#include <nibble/kernels/activations.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// The int8 form of up to 128 inputs of one token.
struct QuantizedInputs {
  alignas(alignment) std::int8_t codes[activation_group];
  std::int32_t sums[activation_group / activation_block];
  float scale;
};

/// Symmetric: scale = max|x| / 127, code = nearest(x * (127 / max|x|)), ties to even, in -127..127;
/// codes past `count` are zero. Where max|x| is so small that 127 / max|x| overflows, scale and
/// codes are 0. An infinite or NaN input makes the scale NaN, so that it shows in the output, and
/// the codes 0.
template <simd::InstructionSet Isa>
[[gnu::flatten]] inline void quantize_inputs(const float* inputs, Index count,
                                             QuantizedInputs& result) noexcept {
  using Floats = simd::Floats<Isa>;
  using Ints = simd::Ints<Isa>;
  alignas(alignment) float padded[activation_group];
  if (count < activation_group) {
    std::fill(std::begin(padded), std::end(padded), 0.0F);
    std::memcpy(padded, inputs, static_cast<std::size_t>(count) * sizeof(float));
    inputs = padded;
  }

  // The bits of |x| order as integers do, infinities and NaNs last.
  constexpr int vectors = activation_group / simd::lane_count;
  const Ints magnitude = Ints::broadcast(0x7FFFFFFF);
  const auto magnitudes = [&](int v) {
    return simd::bitwise_cast<std::int32_t>(Floats::load(inputs + v * simd::lane_count)) &
           magnitude;
  };
  Ints largest = magnitudes(0);
  Ints second = magnitudes(1);
  for (int v = 2; v < vectors; v += 2) {
    largest = simd::max(largest, magnitudes(v));
    second = simd::max(second, magnitudes(v + 1));
  }
  const auto range = std::bit_cast<float>(simd::reduce_max(simd::max(largest, second)));
  const float steps_per_unit = 127.0F / range;
  const bool finite = std::isfinite(range);
  if (!finite || !std::isfinite(steps_per_unit)) {  // not finite, or all (nearly) zero
    std::fill(std::begin(result.codes), std::end(result.codes), std::int8_t{0});
    std::fill(std::begin(result.sums), std::end(result.sums), 0);
    result.scale = finite ? 0.0F : range - range;
    return;
  }

  result.scale = range / 127.0F;
  const auto inverse = Floats::broadcast(steps_per_unit);
  static_assert(activation_block == 2 * simd::lane_count);
  for (int block = 0; block < activation_group / activation_block; ++block) {
    const Index first = block * activation_block;
    const auto low = simd::to_nearest_int(Floats::load(inputs + first) * inverse);
    const auto high =
        simd::to_nearest_int(Floats::load(inputs + first + simd::lane_count) * inverse);
    simd::store_bytes(low, result.codes + first);
    simd::store_bytes(high, result.codes + first + simd::lane_count);
    result.sums[block] = simd::reduce_sum(low + high);
  }
}

namespace pack_detail {

/// Copies a row into its place in each run of the tile, as T, and fills it up with zeros.
template <simd::InstructionSet Isa, FloatElement T>
inline void place_row(const float* row, Index cols, Index padded_cols, Index width,
                      T* place) noexcept {
  constexpr auto run = run_bytes / static_cast<Index>(sizeof(T));
  for (Index col = 0; col < padded_cols; col += run, place += width * run) {
    for (Index i = 0; i < run; i += simd::lane_count) {
      const Index count = std::clamp(cols - col - i, Index{0}, Index{simd::lane_count});
      alignas(alignment) float padded[simd::lane_count];
      const float* source = row + col + i;
      if (count < simd::lane_count) {
        std::fill(std::begin(padded), std::end(padded), 0.0F);
        if (count > 0) std::memcpy(padded, source, static_cast<std::size_t>(count) * sizeof(float));
        source = padded;
      }
      simd::store_floats(simd::Floats<Isa>::load(source), place + i);
    }
  }
}

/// Quantizes a row, of `cols` inputs or of none, into its place in the tile.
template <simd::InstructionSet Isa>
inline void quantize_row(const float* row, Index cols, const PackedActivations& packed, Index tile,
                         Index token) noexcept {
  const Index width = packed.width_of(tile);
  auto* codes = packed.tile_inputs<std::int8_t>(tile) + token * run_bytes;
  float* scales = packed.tile_scales(tile) + token;
  float* sums[] = {packed.tile_sums(tile, 32) + token, packed.tile_sums(tile, 64) + token,
                   packed.tile_sums(tile, 128) + token};
  QuantizedInputs quantized;
  for (Index group = 0; group < packed.scale_groups(); ++group) {
    const Index first = group * activation_group;
    quantize_inputs<Isa>(row + std::min(first, cols),
                         std::clamp(cols - first, Index{0}, activation_group), quantized);
    scales[group * width] = quantized.scale;
    const Index rest = packed.padded_cols() - first;
    for (Index run = 0; run < std::min(activation_group, rest) / run_bytes; ++run) {
      std::memcpy(codes + (first / run_bytes + run) * width * run_bytes,
                  quantized.codes + run * run_bytes, run_bytes);
    }
    // The sums of 128, of each 64 and of each 32, as far as there are inputs.
    for (int level = 0; level < 3; ++level) {
      const Index blocks = Index{4} >> level;
      const Index total = divide_up(packed.cols, activation_block << level);
      for (Index i = 0; i < std::min(blocks, total - group * blocks); ++i) {
        std::int32_t sum = 0;
        for (Index j = i << level; j < (i + 1) << level; ++j) sum += quantized.sums[j];
        sums[level][(group * blocks + i) * width] = static_cast<float>(sum);
      }
    }
  }
}

}  // namespace pack_detail

/// Packs the tokens of one tile. `inputs` is [tokens][stride], of all tokens.
template <simd::InstructionSet Isa>
void pack_activations(const float* inputs, Index stride, const PackedActivations& packed,
                      Index tile) noexcept {
  const Index width = packed.width_of(tile);
  const Index tokens = packed.tokens_in(tile);
  for (Index token = 0; token < width; ++token) {
    const Index cols = token < tokens ? packed.cols : Index{0};
    const float* row =
        token < tokens ? inputs + (packed.first_token(tile) + token) * stride : inputs;
    const auto place = [&]<class T>(T* tile_inputs) {
      pack_detail::place_row<Isa>(row, cols, packed.padded_cols(), width,
                                  tile_inputs + token * run_bytes / static_cast<Index>(sizeof(T)));
    };
    switch (packed.kind) {
      case Activations::Float:
        place(packed.tile_inputs<float>(tile));
        break;
      case Activations::BFloat16:
        place(packed.tile_inputs<BFloat16>(tile));
        break;
      case Activations::Int8:
        pack_detail::quantize_row<Isa>(row, cols, packed, tile, token);
        break;
    }
  }
}

}  // namespace nibble
