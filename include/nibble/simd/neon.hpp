// What NEON, the vectors of every aarch64 CPU, does better than the portable path.
#pragma once

#include <nibble/simd/isa.hpp>

#if XSIMD_WITH_NEON64

#include <arm_neon.h>

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <nibble/simd/bit_count.hpp>
#include <nibble/simd/dot4.hpp>
#include <nibble/simd/half_lanes.hpp>
#include <nibble/simd/prefetch.hpp>

namespace nibble::simd {

template <InstructionSet Isa>
inline void prefetch(Generic, const void* address, Isa) noexcept {
  __builtin_prefetch(address, 0, 2);  // to be read; kept from the second level on
}

template <InstructionSet Isa>
[[nodiscard]] inline Pairs<Isa> load_pairs(Generic, const float* data, Floats<Isa>) noexcept {
  const auto take = [&](auto i, auto part) ->
      typename Floats<Isa>::Register { return vld2q_f32(data + 8 * i).val[part]; };
  using First = std::integral_constant<int, 0>;
  using Second = std::integral_constant<int, 1>;
  return {Floats<Isa>::build([&](auto i) { return take(i, First{}); }),
          Floats<Isa>::build([&](auto i) { return take(i, Second{}); })};
}

/// xsimd 8.1 multiplies by an approximate reciprocal.
template <InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> divide(Generic, const Floats<Isa>& a,
                                        const Floats<Isa>& b) noexcept {
  return Floats<Isa>::build([&](auto i) -> typename Floats<Isa>::Register {
    return vdivq_f32(a.registers[i], b.registers[i]);
  });
}

/// xsimd 8.1 looks for the shift among all 32.
template <LaneType T, InstructionSet Isa>
[[nodiscard]] inline Lanes<T, Isa> shift_left(Generic, const Lanes<T, Isa>& a, int bits) noexcept {
  const int32x4_t count = vdupq_n_s32(bits);  // negative: to the right
  return Lanes<T, Isa>::build([&](auto i) -> typename Lanes<T, Isa>::Register {
    if constexpr (std::same_as<T, std::uint32_t>) {
      return vshlq_u32(a.registers[i], count);
    } else {
      return vshlq_s32(a.registers[i], count);
    }
  });
}
template <LaneType T, InstructionSet Isa>
[[nodiscard]] inline Lanes<T, Isa> shift_right(Generic tag, const Lanes<T, Isa>& a,
                                               int bits) noexcept {
  return shift_left(tag, a, -bits);
}

/// xsimd 8.1 calls a function that it finds in a table.
template <LaneType To, LaneType From, InstructionSet Isa>
[[nodiscard]] inline Lanes<To, Isa> bitwise_cast(Generic, const Lanes<From, Isa>& value) noexcept {
  using Source = typename Lanes<From, Isa>::Register::register_type;
  using Target = typename Lanes<To, Isa>::Register::register_type;
  return Lanes<To, Isa>::build([&](auto i) -> typename Lanes<To, Isa>::Register {
    return std::bit_cast<Target>(static_cast<Source>(value.registers[i]));
  });
}

template <InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> load_half(Generic, const Float16* data, Floats<Isa>) noexcept {
  static_assert(sizeof(Float16) == sizeof(std::uint16_t));
  const auto* bits = reinterpret_cast<const std::uint16_t*>(data);
  return Floats<Isa>::build([&](auto i) -> typename Floats<Isa>::Register {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(bits + 4 * i)));
  });
}

/// Four activations in each lane.
template <InstructionSet Isa>
[[nodiscard]] inline int8x16_t broadcast_quad(const std::int8_t* activations) noexcept {
  std::int32_t quad = 0;
  std::memcpy(&quad, activations, sizeof quad);
  return vreinterpretq_s8_s32(vdupq_n_s32(quad));
}

/// In each of four lanes: sum + four products of signed bytes, -128..127 by -127..127. The sum of
/// two products is at most 2 * 128 * 127, which fits into 16 bits.
template <InstructionSet Isa>
[[nodiscard]] inline int32x4_t dot_signed(Generic, int32x4_t sum, int8x16_t a,
                                          int8x16_t b) noexcept {
  const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
  const int16x8_t high = vmull_high_s8(a, b);
  return vpadalq_s16(sum, vpaddq_s16(low, high));
}

template <InstructionSet Isa>
[[nodiscard]] inline Words<Isa> subtract_bytes(Generic, const Words<Isa>& a,
                                               const Words<Isa>& b) noexcept {
  return Words<Isa>::build([&](auto i) -> typename Words<Isa>::Register {
    return vreinterpretq_u32_u8(
        vsubq_u8(vreinterpretq_u8_u32(a.registers[i]), vreinterpretq_u8_u32(b.registers[i])));
  });
}

/// Codes below 128 are the same as signed bytes.
template <InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> dot4_narrow(Generic, const Ints<Isa>& accumulator,
                                           const Words<Isa>& codes,
                                           const std::int8_t* activations) noexcept {
  const int8x16_t quads = broadcast_quad<Isa>(activations);
  return Ints<Isa>::build([&](auto i) -> typename Ints<Isa>::Register {
    return dot_signed<Isa>(Isa{}, accumulator.registers[i],
                           vreinterpretq_s8_u32(codes.registers[i]), quads);
  });
}

/// As a signed byte, a code with its top bit turned is code - 128; what that leaves out is taken
/// from the accumulators.
template <InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> dot4(Generic, const Ints<Isa>& accumulator, const Words<Isa>& codes,
                                    const std::int8_t* activations) noexcept {
  const int8x16_t quads = broadcast_quad<Isa>(activations);
  const int8x16_t top_bits = vdupq_n_s8(-128);
  const int32x4_t left_out = dot_signed<Isa>(Isa{}, vdupq_n_s32(0), top_bits, quads);
  return Ints<Isa>::build([&](auto i) -> typename Ints<Isa>::Register {
    return dot_signed<Isa>(Isa{}, vsubq_s32(accumulator.registers[i], left_out),
                           veorq_s8(vreinterpretq_s8_u32(codes.registers[i]), top_bits), quads);
  });
}

template <InstructionSet Isa>
inline void add_bit_count(Generic, BitCounts<Isa>& counts, std::size_t row,
                          const Words<Isa>& bits) noexcept {
  uint8x16_t bytes = vdupq_n_u8(0);  // 32 at most
  Words<Isa>::for_each(
      [&](auto i) { bytes = vaddq_u8(bytes, vcntq_u8(vreinterpretq_u8_u32(bits.registers[i]))); });
  counts.rows[row] = vpadalq_u16(counts.rows[row], vpaddlq_u8(bytes));
}

template <InstructionSet Isa>
inline void store_bit_counts(Generic, const BitCounts<Isa>& counts, std::int32_t* sums) noexcept {
  for (std::size_t r = 0; r < bit_count_rows; r += 4) {
    const auto& rows = counts.rows;
    const uint32x4_t four =
        vpaddq_u32(vpaddq_u32(rows[r], rows[r + 1]), vpaddq_u32(rows[r + 2], rows[r + 3]));
    vst1q_s32(sums + r, vreinterpretq_s32_u32(four));
  }
}

}  // namespace nibble::simd

#endif
