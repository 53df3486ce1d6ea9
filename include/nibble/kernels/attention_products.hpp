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

/// The keys and values of the page after: asked for little by little while this page's are used, so
/// that memory works all the time. In turn from the four quarters of what lies together, since the
/// CPU itself reads on ahead in each of them: that keeps more of memory's requests under way than
/// one stream does.
class NextPage {
 public:
  /// `data` is a head's part of a page.
  NextPage(const std::byte* data, const KvPageLayout& layout) noexcept
      : quarter_bytes_(static_cast<Index>(layout.head_bytes()) / 4),
        lines_(data),
        last_(data + quarter_bytes_ - simd::cache_line) {}

  /// Elements of T in four lines, one of each quarter.
  template <FloatElement T>
  static constexpr int elements = 4 * simd::cache_line / static_cast<int>(sizeof(T));

  /// Where the first of the next four lines is; after the end the last four again.
  [[nodiscard]] const std::byte* take() noexcept {
    const std::byte* lines = lines_;
    lines_ = std::min(lines + simd::cache_line, last_);
    return lines;
  }

  /// Asks for one of the four.
  template <simd::InstructionSet Isa>
  void prefetch(const std::byte* lines, Index quarter) const noexcept {
    simd::prefetch<Isa>(lines + quarter * quarter_bytes_);
  }

 private:
  Index quarter_bytes_;
  const std::byte* lines_;
  const std::byte* last_;
};

/// sums [Rows][Vectors] += factors[row][i] * rows[i] for i in [first, end), and asks for as much of
/// the next page. Rows of factors and of `rows` are so far apart.
template <simd::InstructionSet Isa, int Rows, int Vectors, FloatElement T>
inline void multiply_rows(
    const float* factors, Index factor_stride, const T* rows, Index row_stride, Index first,
    Index end, NextPage& next,
    simd::Floats<Isa> (&sums)[static_cast<std::size_t>(Rows * Vectors)]) noexcept {
  using Floats = simd::Floats<Isa>;
  constexpr int width = Vectors * simd::lane_count;
  constexpr int step = NextPage::elements<T> / width;
  const auto multiply_row = [&](Index i) {
    Floats row[Vectors];
    simd::unroll<Vectors>([&](auto v) {
      row[v] = simd::load_floats<Isa>(rows + i * row_stride + v * simd::lane_count);
    });
    simd::unroll<Rows>([&](auto r) {
      const auto factor = Floats::broadcast(factors[r * factor_stride + i]);
      simd::unroll<Vectors>([&](auto v) {
        constexpr int sum = r * Vectors + v;
        sums[sum] = fma(factor, row[v], sums[sum]);
      });
    });
  };
  Index i = first;
  for (; i + step <= end; i += step) {
    const std::byte* lines = next.take();
    simd::unroll<step>([&](auto s) {
      constexpr int line = s * 4 / step;
      simd::unroll<(s + 1) * 4 / step - line>(
          [&](auto quarter) { next.prefetch<Isa>(lines, line + quarter); });
      multiply_row(i + s);
    });
  }
  for (; i < end; ++i) multiply_row(i);
}

/// scores [Rows][64] = queries [Rows][head_dim] * keys [head_dim][64], of which `Vectors` vectors
/// of columns from `column` on.
template <simd::InstructionSet Isa, int Rows, int Vectors, FloatElement T>
[[gnu::flatten]] void score_tile(const float* queries, const T* keys, NextPage& next, Index column,
                                 Index head_dim, float* scores) noexcept {
  simd::Floats<Isa> sums[Rows * Vectors];
  simd::unroll<Rows * Vectors>([&](auto i) { sums[i] = simd::Floats<Isa>::broadcast(0.0F); });
  multiply_rows<Isa, Rows, Vectors>(queries, head_dim, keys + column, page_positions, 0, head_dim,
                                    next, sums);
  simd::unroll<Rows * Vectors>([&](auto i) {
    sums[i].store(scores + column + i / Vectors * page_positions + i % Vectors * simd::lane_count);
  });
}

/// Scores of Rows queries against the positions of a page that are in the same 16, 32 or 64 as one
/// of [first, end).
template <simd::InstructionSet Isa, int Rows, FloatElement T>
void score_rows(const float* queries, const T* keys, NextPage& next, Index head_dim, Index first,
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
[[gnu::flatten]] void add_values_from(Index column, const float* weights, const T* values,
                                      NextPage& next, Index padded_dim, Index first, Index end,
                                      float* outputs) noexcept {
  constexpr int width = Vectors * simd::lane_count;
  for (; column + width <= padded_dim; column += width) {
    float* output = outputs + column;
    const auto place = [&](auto i) {
      return output + i / Vectors * padded_dim + i % Vectors * simd::lane_count;
    };
    simd::Floats<Isa> sums[Rows * Vectors];
    simd::unroll<Rows * Vectors>([&](auto i) { sums[i] = simd::Floats<Isa>::load(place(i)); });
    multiply_rows<Isa, Rows, Vectors>(weights, page_positions, values + column, padded_dim, first,
                                      end, next, sums);
    simd::unroll<Rows * Vectors>([&](auto i) { sums[i].store(place(i)); });
  }
  if constexpr (Vectors > 1) {
    add_values_from<Isa, Rows, 1>(column, weights, values, next, padded_dim, first, end, outputs);
  }
}

/// outputs [Rows][padded_dim] += weights [Rows][64] * values [64][padded_dim] over positions
/// [first, end); values of other positions are not looked at.
template <simd::InstructionSet Isa, int Rows, FloatElement T>
void add_values(const float* weights, const T* values, NextPage& next, Index padded_dim,
                Index first, Index end, float* outputs) noexcept {
  if (first >= end) return;
  add_values_from<Isa, Rows, tile_vectors<Isa, Rows>()>(0, weights, values, next, padded_dim, first,
                                                        end, outputs);
}

}  // namespace nibble::attention_detail
