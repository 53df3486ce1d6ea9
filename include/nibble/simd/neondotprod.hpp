// What the dot-product extension of ARMv8.2 does better than NEON: the byte dot product.
#pragma once

#include <nibble/simd/isa.hpp>

#if defined(NIBBLE_HAS_NEONDOTPROD)

#include <arm_neon.h>

#include <nibble/simd/neon.hpp>

namespace nibble::simd {

template <InstructionSet Isa>
[[nodiscard]] inline int32x4_t dot_signed(NeonDotprod, int32x4_t sum, int8x16_t a,
                                          int8x16_t b) noexcept {
  return vdotq_s32(sum, a, b);
}

}  // namespace nibble::simd

#endif
