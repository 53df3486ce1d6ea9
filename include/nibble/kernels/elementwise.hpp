// The vector operations between the matmuls: RMS norm, rotary embedding, SiLU gate, addition.
#pragma once

#include <cmath>
#include <cstring>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

namespace elementwise_detail {

/// Calls body(first, count, lanes of each input...) for every sixteen numbers; the last lanes of a
/// length that is no multiple of 16 are zero.
template <simd::InstructionSet Isa, class Body, class... Inputs>
inline void for_lanes(Index size, Body&& body, const Inputs*... inputs) noexcept {
  using Floats = simd::Floats<Isa>;
  Index first = 0;
  for (; first + simd::lane_count <= size; first += simd::lane_count) {
    body(first, simd::lane_count, Floats::load(inputs + first)...);
  }
  if (first == size) return;
  const Index rest = size - first;
  const auto load_rest = [&](const float* input) {
    alignas(alignment) float padded[simd::lane_count] = {};
    std::memcpy(padded, input + first, static_cast<std::size_t>(rest) * sizeof(float));
    return Floats::load(padded);
  };
  body(first, static_cast<int>(rest), load_rest(inputs)...);
}

}  // namespace elementwise_detail

/// output = weight * input / sqrt(mean(input^2) + epsilon); all [size]. output may be input.
template <simd::InstructionSet Isa>
void rms_norm(const float* input, const float* weight, float epsilon, Index size,
              float* output) noexcept {
  using Floats = simd::Floats<Isa>;
  using elementwise_detail::for_lanes;
  Floats squares = Floats::broadcast(0.0F);
  for_lanes<Isa>(
      size, [&](Index, int, const Floats& x) { squares = fma(x, x, squares); }, input);
  const float mean = simd::reduce_sum(squares) / static_cast<float>(size);
  const auto inverse = Floats::broadcast(1.0F / std::sqrt(mean + epsilon));
  for_lanes<Isa>(
      size,
      [&](Index first, int count, const Floats& x, const Floats& w) {
        simd::store_first(w * (x * inverse), output + first, count);
      },
      input, weight);
}

/// Rotates the pairs (i, i + size / 2) of a head, [size], by the angles whose cosines and sines are
/// given, [size / 2] each. Source: Su et al., "RoFormer" (2021), with the halves of Llama.
template <simd::InstructionSet Isa>
void rotate(float* head, const float* cosines, const float* sines, Index size) noexcept {
  using Floats = simd::Floats<Isa>;
  const Index half = size / 2;
  elementwise_detail::for_lanes<Isa>(
      half,
      [&](Index first, int count, const Floats& low, const Floats& high, const Floats& cosine,
          const Floats& sine) {
        const Floats minus_sine = Floats::broadcast(0.0F) - sine;
        simd::store_first(fma(low, cosine, high * minus_sine), head + first, count);
        simd::store_first(fma(high, cosine, low * sine), head + half + first, count);
      },
      head, head + half, cosines, sines);
}

/// gate = silu(gate) * up, [size], with silu(x) = x / (1 + e^-x).
template <simd::InstructionSet Isa>
void silu_multiply(float* gate, const float* up, Index size) noexcept {
  using Floats = simd::Floats<Isa>;
  const auto one = Floats::broadcast(1.0F);
  const auto zero = Floats::broadcast(0.0F);
  elementwise_detail::for_lanes<Isa>(
      size,
      [&](Index first, int count, const Floats& g, const Floats& u) {
        simd::store_first(g / (one + exp(zero - g)) * u, gate + first, count);
      },
      static_cast<const float*>(gate), up);
}

/// sum += addend, [size].
template <simd::InstructionSet Isa>
void add(float* sum, const float* addend, Index size) noexcept {
  using Floats = simd::Floats<Isa>;
  elementwise_detail::for_lanes<Isa>(
      size,
      [&](Index first, int count, const Floats& a, const Floats& b) {
        simd::store_first(a + b, sum + first, count);
      },
      static_cast<const float*>(sum), addend);
}

}  // namespace nibble
