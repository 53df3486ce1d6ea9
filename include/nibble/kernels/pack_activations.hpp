// Packs a tile of inputs for a matmul: transposed floats, or int8 codes with scales and sums.
#pragma once

#include <algorithm>
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
inline QuantizedInputs quantize_inputs(const float* inputs, Index count) noexcept {
  using Floats = simd::Floats<Isa>;
  alignas(alignment) float padded[activation_group] = {};
  std::memcpy(padded, inputs, static_cast<std::size_t>(count) * sizeof(float));

  Floats largest = Floats::broadcast(0.0F);
  Floats defect = Floats::broadcast(0.0F);  // turns NaN where an input is not finite
  for (Index i = 0; i < activation_group; i += simd::lane_count) {
    const Floats x = Floats::load(padded + i);
    largest = max(largest, abs(x));
    defect = fma(x, Floats::broadcast(0.0F), defect);
  }
  QuantizedInputs result;
  const float range = simd::reduce_max(largest);
  const float steps_per_unit = 127.0F / range;
  const bool representable = std::isfinite(steps_per_unit);  // else all are (nearly) zero
  const auto inverse = Floats::broadcast(representable ? steps_per_unit : 0.0F);
  result.scale = (representable ? range / 127.0F : 0.0F) + simd::reduce_sum(defect);
  if (!std::isfinite(result.scale)) {
    std::fill(std::begin(result.codes), std::end(result.codes), std::int8_t{0});
    std::fill(std::begin(result.sums), std::end(result.sums), 0);
    return result;
  }

  for (Index block = 0; block < activation_group / activation_block; ++block) {
    simd::Ints<Isa> sum = simd::Ints<Isa>::broadcast(0);
    for (Index i = 0; i < activation_block; i += simd::lane_count) {
      const Index first = block * activation_block + i;
      const auto code = simd::to_nearest_int(Floats::load(padded + first) * inverse);
      sum = sum + code;
      alignas(alignment) std::int32_t wide[simd::lane_count];
      code.store(wide);
      for (Index j = 0; j < simd::lane_count; ++j) {
        result.codes[first + j] = static_cast<std::int8_t>(wide[j]);
      }
    }
    result.sums[block] = simd::reduce_sum(sum);
  }
  return result;
}

/// Packs the tokens of one tile. `inputs` is [tokens][stride], of all tokens.
template <simd::InstructionSet Isa>
void pack_activations(const float* inputs, Index stride, const PackedActivations& packed,
                      Index tile) noexcept {
  const Index width = packed.width_of(tile);
  const Index tokens = packed.tokens_in(tile);
  const Index padded_cols = packed.padded_cols();
  const float* first_row = inputs + packed.first_token(tile) * stride;

  if (packed.kind == Activations::Float) {
    float* values = packed.tile_values(tile);
    for (Index token = 0; token < width; ++token) {
      const Index cols = token < tokens ? packed.cols : Index{0};
      for (Index col = 0; col < padded_cols; ++col) {
        values[col * width + token] = col < cols ? first_row[token * stride + col] : 0.0F;
      }
    }
    return;
  }

  std::int8_t* codes = packed.tile_codes(tile);
  float* scales = packed.tile_scales(tile);
  std::int32_t* sums = packed.tile_sums(tile);
  constexpr Index blocks_per_group = activation_group / activation_block;
  for (Index token = 0; token < width; ++token) {
    for (Index group = 0; group < packed.scale_groups(); ++group) {
      const Index first = group * activation_group;
      const Index count =
          token < tokens ? std::min(activation_group, packed.cols - first) : Index{0};
      const QuantizedInputs quantized =
          quantize_inputs<Isa>(count == 0 ? inputs : first_row + token * stride + first, count);
      scales[group * width + token] = quantized.scale;
      for (Index i = 0; i < std::min(activation_group, padded_cols - first); i += 4) {
        std::memcpy(codes + ((first + i) / 4 * width + token) * 4, quantized.codes + i, 4);
      }
      const Index first_block = group * blocks_per_group;
      for (Index i = 0; i < std::min(blocks_per_group, packed.blocks() - first_block); ++i) {
        sums[(first_block + i) * width + token] = quantized.sums[i];
      }
    }
  }
}

}  // namespace nibble
