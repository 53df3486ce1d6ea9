// The dot product that bfloat16 matmuls are made of: two by two bfloat16.
#pragma once

#include <nibble/core/half.hpp>
#include <nibble/simd/lanes.hpp>

namespace nibble::simd {

/// In each lane: accumulator + weights[0] * inputs[0] + weights[1] * inputs[1], where a lane of
/// `weights` holds two bfloat16 and the inputs are the same for all lanes. Summed as float32, each
/// sum rounded to nearest; subnormal numbers count as zero.
template <Dot2InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> dot2(const Floats<Isa>& accumulator, const Words<Isa>& weights,
                                      const BFloat16* inputs) noexcept {
  return dot2(Isa{}, accumulator, weights, inputs);
}

}  // namespace nibble::simd
