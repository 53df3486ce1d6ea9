// What AVX2 with FMA and F16C does better than the generic path.
#pragma once

#include <nibble/simd/isa.hpp>

#if defined(NIBBLE_HAS_AVX2)

#include <immintrin.h>

#include <concepts>
#include <cstdint>
#include <cstring>
#include <limits>

#include <nibble/simd/bit_count.hpp>
#include <nibble/simd/exp.hpp>
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

template <InstructionSet Isa, NarrowUnsigned Narrow>
[[nodiscard]] inline Words<Isa> load_widened(Avx2, const Narrow* data, Words<Isa>) noexcept {
  return Words<Isa>::build([&](auto i) -> typename Words<Isa>::Register {
    if constexpr (std::same_as<Narrow, std::uint8_t>) {
      return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(data + 8 * i)));
    } else {
      return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data + 8 * i)));
    }
  });
}

template <InstructionSet Isa>
inline void store_half(Avx2, const Floats<Isa>& value, Float16* data) noexcept {
  Floats<Isa>::for_each([&](auto i) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(data + 8 * i),
                     _mm256_cvtps_ph(value.registers[i], _MM_FROUND_TO_NEAREST_INT));
  });
}

/// Adds half a unit of the upper 16 bits, less one where that makes ties even; a NaN is quieted.
template <InstructionSet Isa>
inline void store_half(Avx2, const Floats<Isa>& value, BFloat16* data) noexcept {
  Floats<Isa>::for_each([&](auto i) {
    const __m256 x = value.registers[i];
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i upper = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, is_nan), 16);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(upper, upper), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(data + 8 * i), _mm256_castsi256_si128(packed));
  });
}

/// Of eight lanes, combined already with those 8 apart.
template <InstructionSet Isa, LaneType T, class Combine>
[[nodiscard]] inline T reduce_eight(const xsimd::batch<T, xsimd::avx2>& eight,
                                    Combine combine) noexcept {
  using Four = xsimd::batch<T, xsimd::sse4_1>;
  alignas(16) T lanes[4];
  if constexpr (std::same_as<T, float>) {
    const Four low = _mm256_castps256_ps128(eight);
    const Four high = _mm256_extractf128_ps(eight, 1);
    combine(low, high).store_aligned(lanes);
  } else {
    const Four low = _mm256_castsi256_si128(eight);
    const Four high = _mm256_extracti128_si256(eight, 1);
    combine(low, high).store_aligned(lanes);
  }
  return combine(combine(lanes[0], lanes[2]), combine(lanes[1], lanes[3]));
}

template <InstructionSet Isa>
[[nodiscard]] inline Pairs<Isa> load_pairs(Avx2, const float* data, Floats<Isa>) noexcept {
  // Shuffles take from each half in turn; the permutation sorts that.
  const auto take = [&](auto i, auto part) -> typename Floats<Isa>::Register {
    const __m256 low = _mm256_loadu_ps(data + 16 * i);
    const __m256 high = _mm256_loadu_ps(data + 16 * i + 8);
    const __m256 mixed = _mm256_shuffle_ps(low, high, part == 0 ? 0x88 : 0xDD);
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xD8));
  };
  using First = std::integral_constant<int, 0>;
  using Second = std::integral_constant<int, 1>;
  return {Floats<Isa>::build([&](auto i) { return take(i, First{}); }),
          Floats<Isa>::build([&](auto i) { return take(i, Second{}); })};
}

template <LaneType T, InstructionSet Isa, class Combine>
[[nodiscard]] inline T reduce(Avx2, const Lanes<T, Isa>& value, Combine combine) noexcept {
  using Eight = xsimd::batch<T, xsimd::avx2>;
  return reduce_eight<Isa, T>(
      combine(Eight(value.registers[0].data), Eight(value.registers[1].data)), combine);
}

template <InstructionSet Isa>
[[nodiscard]] inline bool any_above(Avx2, const Floats<Isa>& value, float limit) noexcept {
  const __m256 limits = _mm256_set1_ps(limit);
  const __m256 low = _mm256_cmp_ps(value.registers[0], limits, _CMP_GT_OQ);
  const __m256 high = _mm256_cmp_ps(value.registers[1], limits, _CMP_GT_OQ);
  return _mm256_movemask_ps(_mm256_or_ps(low, high)) != 0;
}

/// A quarter faster than xsimd's, with the same ends: below -87.33 it is 0, above 88.37 infinity.
template <InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> exp(Avx2, const Floats<Isa>& value) noexcept {
  const ReducedExp<Isa> reduced = reduced_exp<Isa>(value);
  return Floats<Isa>::build([&](auto i) -> typename Floats<Isa>::Register {
    const __m256 x = value.registers[i];
    // 2^count by its exponent bits, for count in [-126, 127].
    const __m256i exponent =
        _mm256_slli_epi32(_mm256_castps_si256(reduced.shifted.registers[i]), 23);
    const __m256 scale =
        _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(0x3F800000)));
    const __m256 power = _mm256_mul_ps(reduced.power.registers[i], scale);
    const __m256 too_small = _mm256_cmp_ps(x, _mm256_set1_ps(-0x1.5d589ep+6F), _CMP_LT_OQ);
    const __m256 too_large = _mm256_cmp_ps(x, _mm256_set1_ps(0x1.61814ap+6F), _CMP_GT_OQ);
    return _mm256_blendv_ps(_mm256_andnot_ps(too_small, power),
                            _mm256_set1_ps(std::numeric_limits<float>::infinity()), too_large);
  });
}

/// Bytes widened to 16 bits, so that no product saturates: even bytes and odd bytes apart.
template <InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> dot4(Avx2, const Ints<Isa>& accumulator, const Words<Isa>& codes,
                                    const std::int8_t* activations) noexcept {
  std::int32_t quad = 0;
  std::memcpy(&quad, activations, sizeof quad);
  const __m256i quads = _mm256_set1_epi32(quad);
  const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(quads, 8), 8);
  const __m256i odd = _mm256_srai_epi16(quads, 8);
  const __m256i mask = _mm256_set1_epi32(0x00FF00FF);
  return Ints<Isa>::build([&](auto i) -> typename Ints<Isa>::Register {
    const __m256i code = codes.registers[i];
    const __m256i evens = _mm256_madd_epi16(_mm256_and_si256(code, mask), even);
    const __m256i odds = _mm256_madd_epi16(_mm256_and_si256(_mm256_srli_epi32(code, 8), mask), odd);
    return in_order<Isa>(Isa{},
                         _mm256_add_epi32(accumulator.registers[i], _mm256_add_epi32(evens, odds)));
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
    return in_order<Isa>(
        Isa{}, _mm256_add_epi32(accumulator.registers[i], _mm256_madd_epi16(pairs, ones)));
  });
}

/// The counts of both halves of a byte are looked up; sixteen at most in a byte, then summed.
template <InstructionSet Isa>
inline void add_bit_count(Avx2, BitCounts<Isa>& counts, std::size_t row,
                          const Words<Isa>& bits) noexcept {
  if constexpr (Words<Isa>::register_size == 8) {
    const __m256i half = _mm256_set1_epi8(0x0F);
    const __m256i table =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    __m256i bytes = _mm256_setzero_si256();
    Words<Isa>::for_each([&](auto i) {
      const __m256i x = bits.registers[i];
      const __m256i low = _mm256_shuffle_epi8(table, _mm256_and_si256(x, half));
      const __m256i high =
          _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi32(x, 4), half));
      bytes = _mm256_add_epi8(bytes, _mm256_add_epi8(low, high));
    });
    counts.rows[row] =
        _mm256_add_epi32(counts.rows[row], _mm256_sad_epu8(bytes, _mm256_setzero_si256()));
  } else {
    add_bit_count(Generic{}, counts, row, bits);
  }
}

template <InstructionSet Isa>
inline void store_bit_counts(Avx2, const BitCounts<Isa>& counts, std::int32_t* sums) noexcept {
  if constexpr (Words<Isa>::register_size == 8) {
    const auto& rows = counts.rows;
    const auto add_pairs = [&](std::size_t r) { return _mm256_hadd_epi32(rows[r], rows[r + 1]); };
    // In either half: a part of the sums of rows 0 to 3, and of rows 4 to 7.
    const __m256i first = _mm256_hadd_epi32(add_pairs(0), add_pairs(2));
    const __m256i second = _mm256_hadd_epi32(add_pairs(4), add_pairs(6));
    const __m256i low = _mm256_permute2x128_si256(first, second, 0x20);
    const __m256i high = _mm256_permute2x128_si256(first, second, 0x31);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums), _mm256_add_epi32(low, high));
  } else {
    store_bit_counts(Generic{}, counts, sums);
  }
}

}  // namespace nibble::simd

#endif
