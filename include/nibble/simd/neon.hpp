// What NEON, the vectors of every aarch64 CPU, does better than the portable path.
#pragma once

#include <nibble/simd/isa.hpp>

#if XSIMD_WITH_NEON64

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include <nibble/simd/dot4.hpp>
#include <nibble/simd/half_lanes.hpp>

namespace nibble::simd {

/// xsimd 8.1 multiplies by an approximate reciprocal.
template <InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> divide(Generic, const Floats<Isa>& a,
                                        const Floats<Isa>& b) noexcept {
  return Floats<Isa>::build([&](auto i) -> typename Floats<Isa>::Register {
    return vdivq_f32(a.registers[i], b.registers[i]);
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
[[nodiscard]] inline int8x16_t broadcast_quad(const std::int8_t* activations) noexcept {
  std::int32_t quad = 0;
  std::memcpy(&quad, activations, sizeof quad);
  return vreinterpretq_s8_s32(vdupq_n_s32(quad));
}

/// Takes code bytes as signed, -128..127. A sum of two products is at most 2 * 128 * 127, which
/// fits into 16 bits.
template <InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> dot4_narrow(Generic, const Ints<Isa>& accumulator,
                                           const Words<Isa>& codes,
                                           const std::int8_t* activations) noexcept {
  const int8x16_t quads = broadcast_quad(activations);
  return Ints<Isa>::build([&](auto i) -> typename Ints<Isa>::Register {
    const int8x16_t code = vreinterpretq_s8_u32(codes.registers[i]);
    const int16x8_t low = vmull_s8(vget_low_s8(code), vget_low_s8(quads));
    const int16x8_t high = vmull_high_s8(code, quads);
    return vpadalq_s16(accumulator.registers[i], vpaddq_s16(low, high));
  });
}

/// The products of NEON are signed by signed: a code with its top bit turned is, as a signed byte,
/// code - 128; what that leaves out is added.
template <InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> dot4(Generic, const Ints<Isa>& accumulator, const Words<Isa>& codes,
                                    const std::int8_t* activations) noexcept {
  const Words<Isa> top_bits = Words<Isa>::broadcast(0x80808080U);  // -128 in each byte
  const Ints<Isa> left_out =
      dot4_narrow(Isa{}, Ints<Isa>::broadcast(0), top_bits, activations);  // -128 * sum
  const auto turned = Words<Isa>::build([&](auto i) -> typename Words<Isa>::Register {
    return veorq_u32(codes.registers[i], top_bits.registers[i]);
  });
  return dot4_narrow(Isa{}, accumulator - left_out, turned, activations);
}

}  // namespace nibble::simd

#endif
