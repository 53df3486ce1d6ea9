// What AVX-VNNI does better than AVX2: the byte dot product.
#pragma once

#include <nibble/simd/isa.hpp>

#if defined(NIBBLE_HAS_AVXVNNI)

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include <nibble/simd/avx2.hpp>

namespace nibble::simd {

template <InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> dot4(AvxVnni, const Ints<Isa>& accumulator, const Words<Isa>& codes,
                                    const std::int8_t* activations) noexcept {
  std::int32_t quad = 0;
  std::memcpy(&quad, activations, sizeof quad);
  const __m256i quads = _mm256_set1_epi32(quad);
  return Ints<Isa>::build([&](auto i) -> typename Ints<Isa>::Register {
    return _mm256_dpbusd_avx_epi32(accumulator.registers[i], codes.registers[i], quads);
  });
}

template <InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> dot4_narrow(AvxVnni tag, const Ints<Isa>& accumulator,
                                           const Words<Isa>& codes,
                                           const std::int8_t* activations) noexcept {
  return dot4(tag, accumulator, codes, activations);
}

}  // namespace nibble::simd

#endif
