// What AVX-512 BF16 does better: the dot product of bfloat16 pairs.
#pragma once

#include <nibble/simd/isa.hpp>

#if defined(NIBBLE_HAS_AVX512BF16)

#include <immintrin.h>

#include <nibble/simd/avx512vnni.hpp>
#include <nibble/simd/dot2.hpp>

namespace nibble::simd {

/// With the broadcast as its memory operand, as in dot4.
template <Dot2InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> dot2(Avx512Bf16, const Floats<Isa>& accumulator,
                                      const Words<Isa>& weights, const BFloat16* inputs) noexcept {
  struct Pair {
    BFloat16 inputs[2];
  };
  __m512 sum = accumulator.registers[0];
  const __m512i pairs = weights.registers[0];
  asm("vdpbf16ps %2%{1to16%}, %1, %0"
      : "+v"(sum)
      : "v"(pairs), "m"(*reinterpret_cast<const Pair*>(inputs)));
  return {{sum}};
}

}  // namespace nibble::simd

#endif
