// What AVX2 with FMA and F16C does better than the generic path.
#pragma once

#include <nibble/simd/isa.hpp>

#if defined(NIBBLE_HAS_AVX2)

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include <nibble/simd/half_lanes.hpp>
#include <nibble/simd/sse2.hpp>

namespace nibble::simd {

template <InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> load_half(Avx2, const Float16* data, Floats<Isa>) noexcept {
  if constexpr (Floats<Isa>::register_size == 8) {
    return Floats<Isa>::build([&](auto i) -> typename Floats<Isa>::Register {
      return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data + 8 * i)));
    });
  } else {
    return load_half(Generic{}, data, Floats<Isa>{});
  }
}

/// Bytes widened to 16 bits, so that no product saturates: even bytes and odd bytes apart.
template <InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> dot4(Avx2, const Ints<Isa>& accumulator, const Words<Isa>& codes,
                                    const std::int8_t* activations) noexcept {
  const __m256i even = _mm256_set1_epi32(activation_pair(activations, 0));
  const __m256i odd = _mm256_set1_epi32(activation_pair(activations, 1));
  const __m256i mask = _mm256_set1_epi32(0x00FF00FF);
  return Ints<Isa>::build([&](auto i) -> typename Ints<Isa>::Register {
    const __m256i code = codes.registers[i];
    const __m256i evens = _mm256_madd_epi16(_mm256_and_si256(code, mask), even);
    const __m256i odds = _mm256_madd_epi16(_mm256_and_si256(_mm256_srli_epi32(code, 8), mask), odd);
    return _mm256_add_epi32(accumulator.registers[i], _mm256_add_epi32(evens, odds));
  });
}

/// A sum of two products is at most 2 * 127 * 127, which fits into 16 bits.
template <InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> dot4_narrow(Avx2, const Ints<Isa>& accumulator,
                                           const Words<Isa>& codes,
                                           const std::int8_t* activations) noexcept {
  std::int32_t quad = 0;
  std::memcpy(&quad, activations, sizeof quad);
  const __m256i quads = _mm256_set1_epi32(quad);
  const __m256i ones = _mm256_set1_epi16(1);
  return Ints<Isa>::build([&](auto i) -> typename Ints<Isa>::Register {
    const __m256i pairs = _mm256_maddubs_epi16(codes.registers[i], quads);
    return _mm256_add_epi32(accumulator.registers[i], _mm256_madd_epi16(pairs, ones));
  });
}

}  // namespace nibble::simd

#endif
