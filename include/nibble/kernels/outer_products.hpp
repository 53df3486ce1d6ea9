// Sums of outer products: what Gram matrices and the algebra of calibration are made of.
#pragma once

#include <algorithm>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// Vectors of sixteen numbers whose sums are held in registers, of which a quarter is left free.
template <simd::InstructionSet Isa, simd::LaneType T>
inline constexpr int outer_width =
    std::max(1, Isa::registers * 3 / 4 / static_cast<int>(simd::Lanes<T, Isa>::register_count));

/// Channels of y in a tile of `gram_tile`.
template <simd::InstructionSet Isa>
inline constexpr Index gram_width = outer_width<Isa, float>;

/// sums[j][i] += sum of x[token][i] * y[token][j] over `tokens` tokens, in float32, and once in
/// float64. x: [tokens][16]; y: [tokens][gram_width]; sums: [gram_width][16].
template <simd::InstructionSet Isa>
[[gnu::flatten]] void gram_tile(const float* x, const float* y, Index tokens,
                                double* sums) noexcept {
  using Floats = simd::Floats<Isa>;
  constexpr int width = outer_width<Isa, float>;
  Floats products[width];
  simd::unroll<width>([&](auto j) { products[j] = Floats::broadcast(0.0F); });
  for (Index token = 0; token < tokens; ++token, x += simd::lane_count, y += width) {
    const Floats lanes = Floats::load(x);
    simd::unroll<width>(
        [&](auto j) { products[j] = fma(lanes, Floats::broadcast(y[j]), products[j]); });
  }
  alignas(alignment) float stored[width * simd::lane_count];
  simd::unroll<width>([&](auto j) { products[j].store(stored + j * simd::lane_count); });
  for (int i = 0; i < width * simd::lane_count; ++i) sums[i] += stored[i];
}

namespace outer_products_detail {

/// Elements [first, first + Width) of the vectors.
template <simd::InstructionSet Isa, int Width>
[[gnu::flatten]] inline void add_run(const double* const* vectors, const double* lanes, Index count,
                                     Index first, double* sums) noexcept {
  using Doubles = simd::Doubles<Isa>;
  Doubles totals[Width];
  simd::unroll<Width>(
      [&](auto i) { totals[i] = Doubles::load(sums + (first + i) * simd::lane_count); });
  for (Index k = 0; k < count; ++k, lanes += simd::lane_count) {
    const double* vector = vectors[k] + first;
    const Doubles lane = Doubles::load(lanes);
    simd::unroll<Width>(
        [&](auto i) { totals[i] = fma(lane, Doubles::broadcast(vector[i]), totals[i]); });
  }
  simd::unroll<Width>([&](auto i) { totals[i].store(sums + (first + i) * simd::lane_count); });
}

}  // namespace outer_products_detail

/// sums[i][lane] += sum of vectors[k][i] * lanes[k][lane] over k < count, in ascending order, in
/// float64, for i < size. vectors: `count` pointers to [size]; lanes: [count][16]; sums:
/// [size][16].
template <simd::InstructionSet Isa>
void add_outer_products(const double* const* vectors, const double* lanes, Index count, Index size,
                        double* sums) noexcept {
  using outer_products_detail::add_run;
  constexpr int width = outer_width<Isa, double>;
  constexpr int narrow = std::max(1, width / 4);
  Index first = 0;
  for (; first + width <= size; first += width) {
    add_run<Isa, width>(vectors, lanes, count, first, sums);
  }
  for (; first + narrow <= size; first += narrow) {
    add_run<Isa, narrow>(vectors, lanes, count, first, sums);
  }
  for (; first < size; ++first) add_run<Isa, 1>(vectors, lanes, count, first, sums);
}

}  // namespace nibble
