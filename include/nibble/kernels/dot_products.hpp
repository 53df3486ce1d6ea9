// Inner products of all rows of one matrix with all rows of another: distances from centroids.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include <nibble/core/checked.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// Rows of floats, [count][size], `stride` floats apart.
struct FloatRows {
  const float* data = nullptr;
  Index count = 0;
  Index stride = 0;
};

/// Rows of two matrices.
struct DotProductTask {
  FloatRows a, b;
  Index size = 0;             // of a row of either
  float* products = nullptr;  // [a.count][product_stride], the first b.count used
  Index product_stride = 0;
};

namespace dot_products_detail {

/// Rows of each matrix that are multiplied at a time: their sums stay in registers.
template <simd::InstructionSet Isa>
inline constexpr int tile_rows = simd::Floats<Isa>::register_count == 1 ? 4 : 2;

/// Rows of b that are gone through for a few of a, and stay in a near cache.
inline constexpr Index block_rows = 64;

/// The sums of a tile; a row beyond the last of its matrix is the last once more.
template <simd::InstructionSet Isa>
inline void multiply_tile(const DotProductTask& task, Index first_a, Index first_b) noexcept {
  using Floats = simd::Floats<Isa>;
  constexpr int rows = tile_rows<Isa>;
  const float *a[rows], *b[rows];
  for (int i = 0; i < rows; ++i) {
    a[i] = task.a.data + std::min(first_a + i, task.a.count - 1) * task.a.stride;
    b[i] = task.b.data + std::min(first_b + i, task.b.count - 1) * task.b.stride;
  }
  Floats sums[rows * rows];
  simd::unroll<rows * rows>([&](auto i) { sums[i] = Floats::broadcast(0.0F); });
  const auto add = [&](auto load) {
    Floats right[rows];
    simd::unroll<rows>([&](auto j) { right[j] = load(b[j]); });
    simd::unroll<rows>([&](auto i) {
      const Floats left = load(a[i]);
      simd::unroll<rows>(
          [&](auto j) { sums[i * rows + j] = fma(left, right[j], sums[i * rows + j]); });
    });
  };
  Index first = 0;
  for (; first + simd::lane_count <= task.size; first += simd::lane_count) {
    add([&](const float* row) { return Floats::load(row + first); });
  }
  if (first < task.size) {
    add([&](const float* row) {
      float padded[simd::lane_count] = {};
      std::memcpy(padded, row + first, static_cast<std::size_t>(task.size - first) * sizeof(float));
      return Floats::load(padded);
    });
  }
  simd::unroll<rows * rows>([&](auto n) {
    const Index i = first_a + n / rows, j = first_b + n % rows;
    if (i < task.a.count && j < task.b.count) {
      task.products[i * task.product_stride + j] = simd::reduce_sum(sums[n]);
    }
  });
}

}  // namespace dot_products_detail

/// products[i][j] = the inner product of row i of a and row j of b. A product has the same bits
/// whatever rows are computed beside it.
template <simd::InstructionSet Isa>
void dot_products(const DotProductTask& task) noexcept {
  using dot_products_detail::block_rows;
  constexpr Index step = dot_products_detail::tile_rows<Isa>;
  for (Index block = 0; block < task.b.count; block += block_rows) {
    const Index end = std::min(task.b.count, block + block_rows);
    for (Index i = 0; i < task.a.count; i += step) {
      for (Index j = block; j < end; j += step) {
        dot_products_detail::multiply_tile<Isa>(task, i, j);
      }
    }
  }
}

}  // namespace nibble
