// What AVX-512 with VNNI does better: fused multiply-add, half loads and stores, exp, the byte dot
// product.
#pragma once

#include <nibble/simd/isa.hpp>

#if defined(NIBBLE_HAS_AVX512VNNI)

#include <immintrin.h>

#include <concepts>
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
[[nodiscard]] inline Doubles<Isa> fma(Avx512Vnni, const Doubles<Isa>& a, const Doubles<Isa>& b,
                                      const Doubles<Isa>& c) noexcept {
  return {{_mm512_fmadd_pd(a.registers[0], b.registers[0], c.registers[0]),
           _mm512_fmadd_pd(a.registers[1], b.registers[1], c.registers[1])}};
}

template <InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> load_half(Avx512Vnni, const Float16* data, Floats<Isa>) noexcept {
  return {{_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(data)))}};
}

template <InstructionSet Isa, NarrowUnsigned Narrow>
[[nodiscard]] inline Words<Isa> load_widened(Avx512Vnni, const Narrow* data, Words<Isa>) noexcept {
  if constexpr (std::same_as<Narrow, std::uint8_t>) {
    return {{_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data)))}};
  } else {
    return {{_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(data)))}};
  }
}

template <InstructionSet Isa>
inline void store_half(Avx512Vnni, const Floats<Isa>& value, Float16* data) noexcept {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(data),
                      _mm512_cvtps_ph(value.registers[0], _MM_FROUND_TO_NEAREST_INT));
}

/// Adds half a unit of the upper 16 bits, less one where that makes ties even; a NaN is quieted.
template <InstructionSet Isa>
inline void store_half(Avx512Vnni, const Floats<Isa>& value, BFloat16* data) noexcept {
  const __m512 x = value.registers[0];
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
  const __mmask16 is_nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  const __m512i result = _mm512_mask_or_epi32(rounded, is_nan, bits, _mm512_set1_epi32(0x400000));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(data),
                      _mm512_cvtepi32_epi16(_mm512_srli_epi32(result, 16)));
}

template <InstructionSet Isa>
[[nodiscard]] inline Pairs<Isa> load_pairs(Avx512Vnni, const float* data, Floats<Isa>) noexcept {
  const __m512i evens =
      _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odds = _mm512_add_epi32(evens, _mm512_set1_epi32(1));
  const __m512 low = _mm512_loadu_ps(data);
  const __m512 high = _mm512_loadu_ps(data + lane_count);
  return {{{_mm512_permutex2var_ps(low, evens, high)}},
          {{_mm512_permutex2var_ps(low, odds, high)}}};
}

template <LaneType T, InstructionSet Isa, class Combine>
[[nodiscard]] inline T reduce(Avx512Vnni, const Lanes<T, Isa>& value, Combine combine) noexcept {
  using Eight = xsimd::batch<T, xsimd::avx2>;
  if constexpr (std::same_as<T, float>) {
    const __m512 lanes = value.registers[0];
    return reduce_eight<Isa, T>(
        combine(Eight(_mm512_castps512_ps256(lanes)), Eight(_mm512_extractf32x8_ps(lanes, 1))),
        combine);
  } else {
    const __m512i lanes = value.registers[0];
    return reduce_eight<Isa, T>(
        combine(Eight(_mm512_castsi512_si256(lanes)), Eight(_mm512_extracti32x8_epi32(lanes, 1))),
        combine);
  }
}

template <InstructionSet Isa>
[[nodiscard]] inline bool any_above(Avx512Vnni, const Floats<Isa>& value, float limit) noexcept {
  return _mm512_cmp_ps_mask(value.registers[0], _mm512_set1_ps(limit), _CMP_GT_OQ) != 0;
}

/// In 0.4 of the time of xsimd's. Below -87.33 it is 0; infinite only where e^value is.
template <InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> exp(Avx512Vnni, const Floats<Isa>& value) noexcept {
  // An operand that is NaN stays if it is the second one of min.
  const __m512 x = _mm512_min_ps(_mm512_set1_ps(89.0F), value.registers[0]);
  const __mmask16 normal = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-0x1.5d589ep+6F), _CMP_NLT_UQ);
  const ReducedExp<Isa> reduced = reduced_exp<Isa>(Floats<Isa>{{x}});
  return {{_mm512_maskz_scalef_ps(normal, reduced.power.registers[0], reduced.count.registers[0])}};
}

template <InstructionSet Isa>
inline void store_bytes(Avx512Vnni, const Ints<Isa>& value, std::int8_t* data) noexcept {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(data), _mm512_cvtepi32_epi8(value.registers[0]));
}

template <InstructionSet Isa>
[[nodiscard]] inline Words<Isa> subtract_bytes(Avx512Vnni, const Words<Isa>& a,
                                               const Words<Isa>& b) noexcept {
  return {{_mm512_sub_epi8(a.registers[0], b.registers[0])}};
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

template <InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> dot4_narrow(Avx512Vnni tag, const Ints<Isa>& accumulator,
                                           const Words<Isa>& codes,
                                           const std::int8_t* activations) noexcept {
  return dot4(tag, accumulator, codes, activations);
}

template <InstructionSet Isa>
[[nodiscard]] inline Words<Isa> load_bits(Avx512Vnni, const std::uint8_t* data, Index count,
                                          Words<Isa>) noexcept {
  const __mmask64 wanted = ~__mmask64{0} >> (bit_block_bytes - count);
  return {{_mm512_maskz_loadu_epi8(wanted, data)}};
}

}  // namespace nibble::simd

#endif
