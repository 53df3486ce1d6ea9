// Loading and storing lanes of 16-bit floats and of bytes.
#pragma once

#include <concepts>
#include <cstdint>

#include <nibble/core/half.hpp>
#include <nibble/simd/lanes.hpp>

namespace nibble::simd {

template <class T>
concept NarrowUnsigned = std::same_as<T, std::uint8_t> || std::same_as<T, std::uint16_t>;

/// Sixteen unsigned 8- or 16-bit integers, widened.
template <InstructionSet Isa, NarrowUnsigned Narrow>
[[nodiscard]] inline Words<Isa> load_widened(const Narrow* data) noexcept {
  return load_widened(Isa{}, data, Words<Isa>{});
}

/// `Words<Isa>` is passed for its type alone.
template <InstructionSet Isa, NarrowUnsigned Narrow>
[[nodiscard]] inline Words<Isa> load_widened(Portable, const Narrow* data, Words<Isa>) noexcept {
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

/// Stores integers of -128 to 127 as bytes.
template <InstructionSet Isa>
inline void store_bytes(const Ints<Isa>& value, std::int8_t* data) noexcept {
  store_bytes(Isa{}, value, data);
}

template <InstructionSet Isa>
inline void store_bytes(Portable, const Ints<Isa>& value, std::int8_t* data) noexcept {
  alignas(64) std::int32_t wide[lane_count];
  value.store(wide);
  for (int i = 0; i < lane_count; ++i) data[i] = static_cast<std::int8_t>(wide[i]);
}

/// Stores sixteen numbers as T, rounded as from_float<T> does; of a NaN, the payload may differ.
template <InstructionSet Isa, FloatElement T>
inline void store_floats(const Floats<Isa>& value, T* data) noexcept {
  if constexpr (std::same_as<T, float>) {
    value.store(data);
  } else {
    store_half(Isa{}, value, data);
  }
}

template <InstructionSet Isa, FloatElement T>
inline void store_half(Portable, const Floats<Isa>& value, T* data) noexcept {
  alignas(64) float values[lane_count];
  value.store(values);
  for (int i = 0; i < lane_count; ++i) data[i] = from_float<T>(values[i]);
}

}  // namespace nibble::simd
