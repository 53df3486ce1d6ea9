// What AVX-512 VPOPCNTDQ does better: the count of set bits in each lane.
#pragma once

#include <nibble/simd/isa.hpp>

#if defined(NIBBLE_HAS_AVX512VPOPCNTDQ)

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include <nibble/simd/avx512vnni.hpp>
#include <nibble/simd/bit_count.hpp>

namespace nibble::simd {

template <InstructionSet Isa>
inline void add_bit_count(Avx512Vpopcntdq, BitCounts<Isa>& counts, std::size_t row,
                          const Words<Isa>& bits) noexcept {
  counts.rows[row] = _mm512_add_epi32(counts.rows[row], _mm512_popcnt_epi32(bits.registers[0]));
}

/// Two shuffles and one addition a row, where a sum of each row alone takes four of both.
template <InstructionSet Isa>
inline void store_bit_counts(Avx512Vpopcntdq, const BitCounts<Isa>& counts,
                             std::int32_t* sums) noexcept {
  const auto add_pairs = [&](std::size_t r) {
    const __m512i a = counts.rows[r];
    const __m512i b = counts.rows[r + 1];
    return _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  };
  // In each quarter: a part of the sums of four rows.
  const auto add_fours = [&](std::size_t r) {
    const __m512i a = add_pairs(r);
    const __m512i b = add_pairs(r + 2);
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
  };
  const __m512i first = add_fours(0);
  const __m512i second = add_fours(4);
  const __m512i halves = _mm512_add_epi32(_mm512_shuffle_i32x4(first, second, 0x88),
                                          _mm512_shuffle_i32x4(first, second, 0xDD));
  const __m512i whole = _mm512_add_epi32(_mm512_shuffle_i32x4(halves, halves, 0x08),
                                         _mm512_shuffle_i32x4(halves, halves, 0x0D));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums), _mm512_castsi512_si256(whole));
}

}  // namespace nibble::simd

#endif
