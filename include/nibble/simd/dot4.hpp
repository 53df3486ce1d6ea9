// The integer dot product that quantized matmuls are made of: four unsigned by four signed bytes.
#pragma once

#include <cstdint>
#include <cstring>

#include <nibble/simd/lanes.hpp>

namespace nibble::simd {

/// In each lane: accumulator + sum over j < 4 of code byte j (0..255) times activation j
/// (-127..127). The four activations are the same for all lanes. Exact, without saturation.
template <class Isa>
[[nodiscard]] inline Ints<Isa> dot4(const Ints<Isa>& accumulator, const Words<Isa>& codes,
                                    const std::int8_t* activations) noexcept {
  return dot4(Isa{}, accumulator, codes, activations);
}

template <class Isa>
[[nodiscard]] inline Ints<Isa> dot4(Portable, const Ints<Isa>& accumulator,
                                    const Words<Isa>& codes,
                                    const std::int8_t* activations) noexcept {
  const Words<Isa> low_byte = Words<Isa>::broadcast(0xFFU);
  Ints<Isa> sum = accumulator;
  for (int j = 0; j < 4; ++j) {
    const Words<Isa> code = (codes >> (8 * j)) & low_byte;
    sum = sum + bitwise_cast<std::int32_t>(code) * Ints<Isa>::broadcast(activations[j]);
  }
  return sum;
}

}  // namespace nibble::simd
