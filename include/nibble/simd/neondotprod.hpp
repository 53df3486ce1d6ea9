// What the dot-product extension of ARMv8.2 does better than NEON: the byte dot product.
#pragma once

#include <nibble/simd/isa.hpp>

#if defined(NIBBLE_HAS_NEONDOTPROD)

#include <arm_neon.h>

#include <cstdint>

#include <nibble/simd/neon.hpp>

namespace nibble::simd {

/// Takes code bytes as signed, which NEON's dot4 of unsigned codes rests on.
template <InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> dot4_narrow(NeonDotprod, const Ints<Isa>& accumulator,
                                           const Words<Isa>& codes,
                                           const std::int8_t* activations) noexcept {
  const int8x16_t quads = broadcast_quad(activations);
  return Ints<Isa>::build([&](auto i) -> typename Ints<Isa>::Register {
    return vdotq_s32(accumulator.registers[i], vreinterpretq_s8_u32(codes.registers[i]), quads);
  });
}

}  // namespace nibble::simd

#endif
