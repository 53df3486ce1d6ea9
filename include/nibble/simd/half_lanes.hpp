// Loading and storing lanes of 16-bit floats and of bytes.
#pragma once

#include <concepts>
#include <cstdint>

#include <nibble/core/half.hpp>
#include <nibble/simd/lanes.hpp>

namespace nibble::simd {

/// Sixteen unsigned 8- or 16-bit integers, widened.
template <InstructionSet Isa, class Narrow>
requires std::same_as<Narrow, std::uint8_t> || std::same_as<Narrow, std::uint16_t>
[[nodiscard]] inline Words<Isa> load_widened(const Narrow* data) noexcept {
  alignas(64) std::uint32_t wide[lane_count];
  for (int i = 0; i < lane_count; ++i) wide[i] = data[i];
  return Words<Isa>::load(wide);
}

template <InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> load_floats(const float* data) noexcept {
  return Floats<Isa>::load(data);
}

template <InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> load_floats(const BFloat16* data) noexcept {
  static_assert(sizeof(BFloat16) == sizeof(std::uint16_t));
  return bitwise_cast<float>(load_widened<Isa>(reinterpret_cast<const std::uint16_t*>(data)) << 16);
}

template <InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> load_floats(const Float16* data) noexcept {
  return load_half(Isa{}, data, Floats<Isa>{});
}

/// `Floats<Isa>` is passed for its type alone.
template <InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> load_half(Portable, const Float16* data, Floats<Isa>) noexcept {
  alignas(64) float values[lane_count];
  for (int i = 0; i < lane_count; ++i) values[i] = nibble::to_float(data[i]);
  return Floats<Isa>::load(values);
}

}  // namespace nibble::simd
