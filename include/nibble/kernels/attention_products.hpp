// The two matrix products of attention: tiles of a few query rows whose sums stay in registers.
//
// Every sum takes its terms one by one in ascending order, whatever the tile, so a row's bits do
// not depend on the rows beside it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include <nibble/core/checked.hpp>
#include <nibble/kernels/kv_page.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble::attention_detail {

/// Registers for the sums of a tile; operands take the rest.
template <simd::InstructionSet Isa>
inline constexpr int sum_registers = Isa::registers * 3 / 4;

/// Query rows of the largest tile.
template <simd::InstructionSet Isa>
inline constexpr int tile_rows = std::clamp(sum_registers<Isa> /
                                                static_cast<int>(simd::Floats<Isa>::register_count),
                                            1, 8);

/// Vectors of sixteen sums that a tile has in each of its rows: enough that the latency of one
/// multiply-add is hidden by the others, and that a broadcast serves several.
template <simd::InstructionSet Isa, int Rows>
constexpr int tile_vectors() {
  constexpr int registers = Rows * static_cast<int>(simd::Floats<Isa>::register_count);
  return 4 * registers <= sum_registers<Isa> ? 4 : 2 * registers <= sum_registers<Isa> ? 2 : 1;
}

/// Calls body(row, integral constant of rows) for tiles that cover rows [first, end), as equal in
/// height as can be, so that none is too low to hide latencies.
template <simd::InstructionSet Isa, class Body>
void for_tiles(Index first, Index end, Body&& body) noexcept {
  for (Index row = first; row < end;) {
    const Index rows = divide_up(end - row, divide_up(end - row, Index{tile_rows<Isa>}));
    simd::unroll<tile_rows<Isa>>([&](auto below) {
      constexpr int count = below + 1;
      if (rows == count) body(row, std::integral_constant<int, count>{});
    });
    row += rows;
  }
}

/// The keys and values of the page after: asked for while this page's are used, so that memory
/// works all the time. Line by line in turn from the four quarters of what lies together, since
/// the CPU itself reads on ahead in each of them: that keeps more of memory's requests under way
/// than one stream does.
class NextPage {
 public:
  /// `data` is a head's part of a page; elements are counted from `first_element` of it.
  NextPage(const std::byte* data, const KvPageLayout& layout, Index first_element) noexcept
      : data_(data),
        quarter_bytes_(static_cast<Index>(layout.head_bytes()) / (4 * simd::cache_line) *
                       simd::cache_line),
        first_element_(first_element),
        element_bytes_(static_cast<Index>(layout.element_bytes())) {}

  /// Elements of T that the lines of one `prefetch` hold.
  template <FloatElement T>
  static constexpr int elements = 4 * simd::cache_line / static_cast<int>(sizeof(T));

  /// Asks for the lines that are to come with `element`: elements<T> of them or more.
  template <simd::InstructionSet Isa>
  void prefetch(Index element) const noexcept {
    const Index bytes = (first_element_ + element) * element_bytes_;
    const std::byte* line = data_ + bytes / 4;
    simd::unroll<4>([&](auto i) { simd::prefetch<Isa>(line + i * quarter_bytes_); });
  }

 private:
  const std::byte* data_;
  Index quarter_bytes_;
  Index first_element_;
  Index element_bytes_;
};

/// scores [Rows][64] = queries [Rows][head_dim] * keys [head_dim][64], of which `Vectors` vectors
/// of columns from `column` on.
template <simd::InstructionSet Isa, int Rows, int Vectors, FloatElement T>
void score_tile(const float* queries, const T* keys, NextPage next, Index column, Index head_dim,
                float* scores) noexcept {
  using Floats = simd::Floats<Isa>;
  constexpr int width = Vectors * simd::lane_count;
  Floats sums[Rows * Vectors];
  simd::unroll<Rows * Vectors>([&](auto i) { sums[i] = Floats::broadcast(0.0F); });
  const T* key_row = keys + column;
  constexpr Index step = NextPage::elements<T> / width;
  for (Index d = 0; d < head_dim;) {
    next.prefetch<Isa>(column * head_dim + d * width);
    for (const Index end = std::min(d + step, head_dim); d < end; ++d) {
      Floats key[Vectors];
      simd::unroll<Vectors>(
          [&](auto v) { key[v] = simd::load_floats<Isa>(key_row + v * simd::lane_count); });
      simd::unroll<Rows>([&](auto r) {
        const auto query = Floats::broadcast(queries[r * head_dim + d]);
        simd::unroll<Vectors>([&](auto v) {
          constexpr int i = r * Vectors + v;
          sums[i] = fma(query, key[v], sums[i]);
        });
      });
      key_row += page_positions;
    }
  }
  simd::unroll<Rows * Vectors>([&](auto i) {
    sums[i].store(scores + column + i / Vectors * page_positions + i % Vectors * simd::lane_count);
  });
}

/// Scores of Rows queries against the positions of a page that are in the same 16, 32 or 64 as one
/// of [first, end).
template <simd::InstructionSet Isa, int Rows, FloatElement T>
void score_rows(const float* queries, const T* keys, NextPage next, Index head_dim, Index first,
                Index end, float* scores) noexcept {
  constexpr int vectors = tile_vectors<Isa, Rows>();
  constexpr Index width = vectors * simd::lane_count;
  for (Index column = first / width * width; column < end; column += width) {
    score_tile<Isa, Rows, vectors>(queries, keys, next, column, head_dim, scores);
  }
}

/// Adds to outputs [Rows][padded_dim], columns from `column` on, as many as tiles of `Vectors`
/// vectors take, the products of weights [Rows][64] and values [64][padded_dim] over positions
/// [first, end).
template <simd::InstructionSet Isa, int Rows, int Vectors, FloatElement T>
void add_values_from(Index column, const float* weights, const T* values, NextPage next,
                     Index padded_dim, Index first, Index end, float* outputs) noexcept {
  using Floats = simd::Floats<Isa>;
  constexpr int width = Vectors * simd::lane_count;
  for (; column + width <= padded_dim; column += width) {
    float* output = outputs + column;
    Floats sums[Rows * Vectors];
    simd::unroll<Rows * Vectors>([&](auto i) {
      sums[i] = Floats::load(output + i / Vectors * padded_dim + i % Vectors * simd::lane_count);
    });
    const T* value_row = values + first * padded_dim + column;
    constexpr Index step = NextPage::elements<T> / width;
    for (Index position = first; position < end;) {
      next.prefetch<Isa>(column * page_positions + position * width);
      for (const Index stop = std::min(position + step, end); position < stop; ++position) {
        Floats value[Vectors];
        simd::unroll<Vectors>(
            [&](auto v) { value[v] = simd::load_floats<Isa>(value_row + v * simd::lane_count); });
        simd::unroll<Rows>([&](auto r) {
          const auto weight = Floats::broadcast(weights[r * page_positions + position]);
          simd::unroll<Vectors>([&](auto v) {
            constexpr int i = r * Vectors + v;
            sums[i] = fma(weight, value[v], sums[i]);
          });
        });
        value_row += padded_dim;
      }
    }
    simd::unroll<Rows * Vectors>([&](auto i) {
      sums[i].store(output + i / Vectors * padded_dim + i % Vectors * simd::lane_count);
    });
  }
  if constexpr (Vectors > 1) {
    add_values_from<Isa, Rows, 1>(column, weights, values, next, padded_dim, first, end, outputs);
  }
}

/// outputs [Rows][padded_dim] += weights [Rows][64] * values [64][padded_dim] over positions
/// [first, end); values of other positions are not looked at.
template <simd::InstructionSet Isa, int Rows, FloatElement T>
void add_values(const float* weights, const T* values, NextPage next, Index padded_dim, Index first,
                Index end, float* outputs) noexcept {
  if (first >= end) return;
  add_values_from<Isa, Rows, tile_vectors<Isa, Rows>()>(0, weights, values, next, padded_dim, first,
                                                        end, outputs);
}

}  // namespace nibble::attention_detail
