// Bytes in lanes: their differences, and the integer dot product that quantized matmuls are made
// of, four unsigned by four signed bytes.
#pragma once

#include <cstdint>

#include <nibble/simd/lanes.hpp>

namespace nibble::simd {

/// a - b, byte by byte, modulo 256.
template <InstructionSet Isa>
[[nodiscard]] inline Words<Isa> subtract_bytes(const Words<Isa>& a, const Words<Isa>& b) noexcept {
  return subtract_bytes(Isa{}, a, b);
}

/// The upper bit of each byte keeps the difference of the others from borrowing beyond it.
template <InstructionSet Isa>
[[nodiscard]] inline Words<Isa> subtract_bytes(Portable, const Words<Isa>& a,
                                               const Words<Isa>& b) noexcept {
  const Words<Isa> upper = Words<Isa>::broadcast(0x80808080U);
  const Words<Isa> lower = Words<Isa>::broadcast(0x7F7F7F7FU);
  return ((a | upper) - (b & lower)) ^ ((a ^ b ^ upper) & upper);
}

/// In each lane: accumulator + sum over j < 4 of code byte j (0 to 2^CodeBits - 1) times
/// activation j (-127..127). The four activations are the same for all lanes. Exact, without
/// saturation.
template <int CodeBits = 8, InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> dot4(const Ints<Isa>& accumulator, const Words<Isa>& codes,
                                    const std::int8_t* activations) noexcept {
  static_assert(CodeBits >= 1 && CodeBits <= 8);
  if constexpr (CodeBits < 8) {
    return dot4_narrow(Isa{}, accumulator, codes, activations);
  } else {
    return dot4(Isa{}, accumulator, codes, activations);
  }
}

template <InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> dot4(Portable, const Ints<Isa>& accumulator, const Words<Isa>& codes,
                                    const std::int8_t* activations) noexcept {
  const Words<Isa> low_byte = Words<Isa>::broadcast(0xFFU);
  Ints<Isa> sum = accumulator;
  for (int j = 0; j < 4; ++j) {
    const Words<Isa> code = (codes >> (8 * j)) & low_byte;
    sum = sum + bitwise_cast<std::int32_t>(code) * Ints<Isa>::broadcast(activations[j]);
  }
  return sum;
}

/// dot4 of codes below 128, for instruction sets whose byte products are cheaper without the top
/// bit.
template <InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> dot4_narrow(Portable, const Ints<Isa>& accumulator,
                                           const Words<Isa>& codes,
                                           const std::int8_t* activations) noexcept {
  return dot4(Isa{}, accumulator, codes, activations);
}

}  // namespace nibble::simd
