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

template <InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> dot4(Avx512Vnni, const Ints<Isa>& accumulator,
                                    const Words<Isa>& codes,
                                    const std::int8_t* activations) noexcept {
  std::int32_t quad = 0;
  std::memcpy(&quad, activations, sizeof quad);
  return {
      {_mm512_dpbusd_epi32(accumulator.registers[0], codes.registers[0], _mm512_set1_epi32(quad))}};
}

template <InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> dot4_narrow(Avx512Vnni tag, const Ints<Isa>& accumulator,
                                           const Words<Isa>& codes,
                                           const std::int8_t* activations) noexcept {
  return dot4(tag, accumulator, codes, activations);
}

}  // namespace nibble::simd

#endif
