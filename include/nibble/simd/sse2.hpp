// What SSE2, the vectors of every x86-64 CPU, does better than the portable path.
#pragma once

#include <nibble/simd/isa.hpp>

#if XSIMD_WITH_SSE2

#include <emmintrin.h>

#include <cstdint>
#include <cstring>

#include <nibble/simd/dot4.hpp>
#include <nibble/simd/prefetch.hpp>

namespace nibble::simd {

template <InstructionSet Isa>
inline void prefetch(Generic, const void* address, Isa) noexcept {
  _mm_prefetch(static_cast<const char*>(address), _MM_HINT_T1);
}

/// Keeps g++ from adding the terms of several sums to each other first, for which it has not enough
/// registers.
template <InstructionSet Isa, class Register>
[[nodiscard]] inline Register in_order(Generic, Register sum) noexcept {
#if defined(__GNUC__)
  asm("" : "+x"(sum));
#endif
  return sum;
}

/// Bytes widened to 16 bits, so that no product saturates: even bytes and odd bytes apart.
template <InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> dot4(Generic, const Ints<Isa>& accumulator, const Words<Isa>& codes,
                                    const std::int8_t* activations) noexcept {
  std::int32_t quad = 0;
  std::memcpy(&quad, activations, sizeof quad);
  const __m128i quads = _mm_set1_epi32(quad);
  const __m128i even = _mm_srai_epi16(_mm_slli_epi16(quads, 8), 8);
  const __m128i odd = _mm_srai_epi16(quads, 8);
  const __m128i mask = _mm_set1_epi32(0x00FF00FF);
  return Ints<Isa>::build([&](auto i) -> typename Ints<Isa>::Register {
    const __m128i code = codes.registers[i];
    const __m128i evens = _mm_madd_epi16(_mm_and_si128(code, mask), even);
    const __m128i odds = _mm_madd_epi16(_mm_and_si128(_mm_srli_epi32(code, 8), mask), odd);
    return in_order<Isa>(Isa{},
                         _mm_add_epi32(accumulator.registers[i], _mm_add_epi32(evens, odds)));
  });
}

}  // namespace nibble::simd

#endif
