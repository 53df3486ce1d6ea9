// Hamming distances between packed bits, and their weighted sum between codes of several bits.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include <nibble/core/checked.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// Codes of some bits per dimension as planes of bits: // [count][planes][plane_bytes], plane 0 the
/// most significant bits, and `stride` bytes from one code to the next. Sign bits are one plane.
struct BitPlanes {
  const std::uint8_t* data = nullptr;
  Index count = 0;
  Index stride = 0;
  int planes = 1;
};

/// Some queries against some rows.
struct HammingTask {
  BitPlanes queries;
  BitPlanes rows;
  Index plane_bytes = 0;              // of both
  std::int32_t* distances = nullptr;  // [queries.count][distance_stride], the first rows.count used
  Index distance_stride = 0;
};

/// Widest planes of codes of 8 bits against 8 bits: with them, distances fit 32 bits.
inline constexpr Index max_plane_bytes = 4096;

namespace hamming_detail {

using Rows = std::array<const std::uint8_t*, simd::bit_count_rows>;

/// Distances of one query from eight rows, of more planes than one or not.
template <simd::InstructionSet Isa, bool RowsHavePlanes>
inline void distances_of(const HammingTask& task, const std::uint8_t* query, const Rows& rows,
                         std::int32_t* distances) noexcept {
  using Counts = simd::BitCounts<Isa>;
  const Index whole = task.plane_bytes / simd::bit_block_bytes * simd::bit_block_bytes;
  const Index rest = task.plane_bytes - whole;
  Counts total = Counts::zero();
  for (int row_plane = 0; row_plane < (RowsHavePlanes ? task.rows.planes : 1); ++row_plane) {
    const Index row_offset = row_plane * task.plane_bytes;
    Counts counts = Counts::zero();
    for (int query_plane = 0; query_plane < task.queries.planes; ++query_plane) {
      if (query_plane > 0) counts.double_all();
      const std::uint8_t* bits = query + query_plane * task.plane_bytes;
      for (Index i = 0; i < whole; i += simd::bit_block_bytes) {
        const auto block = simd::load_bits<Isa>(bits + i);
        simd::unroll<simd::bit_count_rows>([&](auto r) {
          simd::add_bit_count(counts, r, simd::load_bits<Isa>(rows[r] + row_offset + i) ^ block);
        });
      }
      if (rest == 0) continue;
      const auto block = simd::load_bits<Isa>(bits + whole, rest);
      simd::unroll<simd::bit_count_rows>([&](auto r) {
        simd::add_bit_count(counts, r,
                            simd::load_bits<Isa>(rows[r] + row_offset + whole, rest) ^ block);
      });
    }
    if constexpr (RowsHavePlanes) {
      total.double_all();
      total.add(counts);
    } else {
      total = counts;
    }
  }
  simd::store_bit_counts(total, distances);
}

/// The same for rows of one plane of a few whole blocks, which stay in registers for all queries
/// where there are as many.
template <simd::InstructionSet Isa, std::size_t Blocks>
class ShortRows {
 public:
  explicit ShortRows(const Rows& rows) noexcept {
    simd::unroll<Blocks>([&](auto b) {
      simd::unroll<simd::bit_count_rows>([&](auto r) {
        blocks_[b * simd::bit_count_rows + r] =
            simd::load_bits<Isa>(rows[r] + b * simd::bit_block_bytes);
      });
    });
  }

  void distances_of(const HammingTask& task, const std::uint8_t* query,
                    std::int32_t* distances) const noexcept {
    auto counts = simd::BitCounts<Isa>::zero();
    add_plane(query, counts);
    for (int plane = 1; plane < task.queries.planes; ++plane) {
      counts.double_all();
      add_plane(query + plane * task.plane_bytes, counts);
    }
    simd::store_bit_counts(counts, distances);
  }

 private:
  void add_plane(const std::uint8_t* query, simd::BitCounts<Isa>& counts) const noexcept {
    simd::unroll<Blocks>([&](auto b) {
      const auto block = simd::load_bits<Isa>(query + b * simd::bit_block_bytes);
      simd::unroll<simd::bit_count_rows>([&](auto r) {
        simd::add_bit_count(counts, r, blocks_[b * simd::bit_count_rows + r] ^ block);
      });
    });
  }

  std::array<simd::Words<Isa>, Blocks * simd::bit_count_rows> blocks_;
};

/// Rows of any length and number of planes.
template <simd::InstructionSet Isa, bool RowsHavePlanes>
class AnyRows {
 public:
  explicit AnyRows(const Rows& rows) noexcept : rows_(rows) {}

  void distances_of(const HammingTask& task, const std::uint8_t* query,
                    std::int32_t* distances) const noexcept {
    hamming_detail::distances_of<Isa, RowsHavePlanes>(task, query, rows_, distances);
  }

 private:
  const Rows& rows_;
};

/// Every query against every row.
template <simd::InstructionSet Isa, class EightRows>
inline void all_distances(const HammingTask& task) noexcept {
  constexpr auto at_once = static_cast<Index>(simd::bit_count_rows);
  const BitPlanes& rows = task.rows;
  const std::uint8_t* row = rows.data;
  for (Index first = 0; first < rows.count; first += at_once) {
    const Index count = std::min(at_once, rows.count - first);
    simd::prefetch_ahead<Isa>(row, static_cast<std::size_t>(at_once * rows.stride));
    Rows pointers;
    for (Index r = 0; r < at_once; ++r) {  // beyond the last row, the last once more
      pointers[static_cast<std::size_t>(r)] = row;
      if (first + r + 1 < rows.count) row += rows.stride;
    }
    const EightRows eight(pointers);
    const std::uint8_t* query = task.queries.data;
    std::int32_t* out = task.distances + first;
    for (Index q = 0; q < task.queries.count; ++q) {
      std::int32_t rest[simd::bit_count_rows];
      eight.distances_of(task, query, count == at_once ? out : rest);
      if (count < at_once) {
        for (Index r = 0; r < count; ++r) out[r] = rest[r];
      }
      query += task.queries.stride;
      out += task.distance_stride;
    }
  }
}

}  // namespace hamming_detail

/// distances[q][r] = sum over planes i of query q and j of row r of 2^(I - 1 - i + J - 1 - j) times
/// the number of bits in which the two planes differ, with I and J planes each: the plain Hamming
/// distance where both have one plane.
///
/// With the bits of a plane read as +1 and -1, a code of B bits is the odd number
/// sum_j 2^(B - 1 - j) s_j in -(2^B - 1) .. 2^B - 1, and the inner product of two such codes of D
/// dimensions is D (2^I - 1) (2^J - 1) - 2 * distance: exact, for codes of any two widths.
///
/// Rows are read in order, once for all queries of the task; distances are below 2^31 for planes of
/// up to max_plane_bytes.
template <simd::InstructionSet Isa>
void hamming_distances(const HammingTask& task) noexcept {
  using namespace hamming_detail;
  if (task.rows.planes > 1) {
    all_distances<Isa, AnyRows<Isa, true>>(task);
  } else if (task.plane_bytes == simd::bit_block_bytes) {
    all_distances<Isa, ShortRows<Isa, 1>>(task);
  } else if (task.plane_bytes == 2 * simd::bit_block_bytes) {
    all_distances<Isa, ShortRows<Isa, 2>>(task);
  } else {
    all_distances<Isa, AnyRows<Isa, false>>(task);
  }
}

}  // namespace nibble
