// Inputs of a matmul for tests: packed by a table's kernel, and quantized independently of it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "nibble/kernels/kernel_table.hpp"

namespace nibble::test {

/// Packs `tokens` rows of `cols` inputs that lie `stride` apart.
inline PackedActivations pack_inputs(const KernelTable& table, Activations kind,
                                     const float* inputs, Index tokens, Index cols, Index stride,
                                     ActivationBuffer& buffer) {
  const PackedActivations packed =
      buffer.prepare(kind, tokens, cols, table.tile_width[static_cast<std::size_t>(kind)]);
  for (Index tile = 0; tile < packed.tiles(); ++tile) {
    table.pack_activations(inputs, stride, packed, tile);
  }
  return packed;
}

/// The int8 form of one token by its definition.
struct ReferenceInputs {
  std::vector<int> codes;          // [cols]
  std::vector<float> scales;       // [groups of 128]
  std::vector<std::int32_t> sums;  // [blocks of 32]
};

inline ReferenceInputs reference_inputs(std::span<const float> inputs) {
  ReferenceInputs result;
  result.sums.resize((inputs.size() + 31) / 32);
  for (std::size_t first = 0; first < inputs.size(); first += 128) {
    const auto group = inputs.subspan(first, std::min<std::size_t>(128, inputs.size() - first));
    float largest = 0;
    for (const float x : group) largest = std::max(largest, std::fabs(x));
    const float inverse = 127.0F / largest;
    const bool representable = std::isfinite(inverse);
    result.scales.push_back(representable ? largest / 127.0F : 0.0F);
    for (const float x : group) {
      const float level = representable ? x * inverse : 0.0F;
      const int code = static_cast<int>(std::nearbyint(level));
      result.sums[result.codes.size() / 32] += code;
      result.codes.push_back(code);
    }
  }
  return result;
}

}  // namespace nibble::test
