// Inner products of float vectors, and of float vectors with int8 codes: what re-ranking computes.
#pragma once

#include <cstdint>
#include <cstring>

#include <nibble/core/checked.hpp>
#include <nibble/kernels/elementwise.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// The inner product of two vectors, [size] each.
template <simd::InstructionSet Isa>
[[nodiscard]] float dot(const float* a, const float* b, Index size) noexcept {
  using Floats = simd::Floats<Isa>;
  Floats sum = Floats::broadcast(0.0F);
  elementwise_detail::for_lanes<Isa>(
      size, [&](Index, int, const Floats& x, const Floats& y) { sum = fma(x, y, sum); }, a, b);
  return simd::reduce_sum(sum);
}

/// The inner product of a vector with the integers of a code, [size] each.
template <simd::InstructionSet Isa>
[[nodiscard]] float dot_int8(const float* vector, const std::int8_t* code, Index size) noexcept {
  using Floats = simd::Floats<Isa>;
  using Words = simd::Words<Isa>;
  Floats sum = Floats::broadcast(0.0F);
  elementwise_detail::for_lanes<Isa>(
      size,
      [&](Index first, int count, const Floats& x) {
        std::uint8_t rest[simd::lane_count] = {};
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(code + first);
        if (count < simd::lane_count) {
          std::memcpy(rest, bytes, static_cast<std::size_t>(count));
          bytes = rest;
        }
        // With its top bit turned, a byte is its integer + 128.
        const Words turned = simd::load_widened<Isa>(bytes) ^ Words::broadcast(0x80U);
        const auto integers =
            simd::bitwise_cast<std::int32_t>(turned) - simd::Ints<Isa>::broadcast(128);
        sum = fma(x, simd::to_float(integers), sum);
      },
      vector);
  return simd::reduce_sum(sum);
}

}  // namespace nibble
