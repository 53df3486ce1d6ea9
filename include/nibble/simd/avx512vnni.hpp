// What AVX-512 with VNNI does better: fused multiply-add, half loads, the byte dot product.
#pragma once

#include <nibble/simd/isa.hpp>

#if defined(NIBBLE_HAS_AVX512VNNI)

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include <nibble/simd/avx2.hpp>

namespace nibble::simd {

/// xsimd 8.1 has no fused multiply-add for AVX-512.
template <InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> fma(Avx512Vnni, const Floats<Isa>& a, const Floats<Isa>& b,
                                     const Floats<Isa>& c) noexcept {
  return {{_mm512_fmadd_ps(a.registers[0], b.registers[0], c.registers[0])}};
}

template <InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> load_half(Avx512Vnni, const Float16* data, Floats<Isa>) noexcept {
  return {{_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(data)))}};
}

template <InstructionSet Isa, class Narrow>
[[nodiscard]] inline Words<Isa> load_widened(Avx512Vnni, const Narrow* data, Words<Isa>) noexcept {
  if constexpr (sizeof(Narrow) == 1) {
    return {{_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data)))}};
  } else {
    return {{_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(data)))}};
  }
}

template <InstructionSet Isa>
inline void store_bytes(Avx512Vnni, const Ints<Isa>& value, std::int8_t* data) noexcept {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(data), _mm512_cvtepi32_epi8(value.registers[0]));
}

/// One instruction with the broadcast as its memory operand, which g++ 12 does not make of the
/// intrinsics and which leaves the shuffling port to the products.
template <InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> dot4(Avx512Vnni, const Ints<Isa>& accumulator,
                                    const Words<Isa>& codes,
                                    const std::int8_t* activations) noexcept {
  struct Quad {
    std::int8_t inputs[4];
  };
  __m512i sum = accumulator.registers[0];
  const __m512i bytes = codes.registers[0];
  asm("vpdpbusd %2%{1to16%}, %1, %0"
      : "+v"(sum)
      : "v"(bytes), "m"(*reinterpret_cast<const Quad*>(activations)));
  return {{sum}};
}

}  // namespace nibble::simd

#endif
