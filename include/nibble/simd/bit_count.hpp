// Counting set bits, 64 bytes at a time: what distances between packed rows are made of.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include <nibble/core/checked.hpp>
#include <nibble/simd/lanes.hpp>
#include <nibble/simd/unroll.hpp>

namespace nibble::simd {

/// Bytes in a block of bits: sixteen lanes of 32.
inline constexpr int bit_block_bytes = 64;

/// Rows whose bits are counted side by side.
inline constexpr std::size_t bit_count_rows = 8;

/// Running counts of set bits of some rows: a register of 32-bit lanes for each, of which only the
/// sum says something.
template <InstructionSet Isa>
struct BitCounts {
  using Register = typename Words<Isa>::Register;
  std::array<Register, bit_count_rows> rows;

  [[nodiscard]] static BitCounts zero() noexcept {
    BitCounts counts;
    unroll<bit_count_rows>([&](auto r) { counts.rows[r] = Register(std::uint32_t{0}); });
    return counts;
  }

  void double_all() noexcept { add(*this); }
  void add(const BitCounts& other) noexcept {
    unroll<bit_count_rows>([&](auto r) { rows[r] = Register(rows[r] + other.rows[r]); });
  }
};

/// 64 bytes at any address.
template <InstructionSet Isa>
[[nodiscard]] inline Words<Isa> load_bits(const std::uint8_t* data) noexcept {
  if constexpr (Words<Isa>::register_size == 1) {
    return Words<Isa>::build([&](auto i) {
      std::uint32_t word = 0;
      std::memcpy(&word, data + sizeof word * i, sizeof word);
      return word;
    });
  } else {
    return Words<Isa>::load(reinterpret_cast<const std::uint32_t*>(data));
  }
}

/// The first 1 to 64 bytes of a block, and zeros after them; reads nothing beyond.
template <InstructionSet Isa>
[[nodiscard]] inline Words<Isa> load_bits(const std::uint8_t* data, Index count) noexcept {
  return load_bits(Isa{}, data, count, Words<Isa>{});
}

/// `Words<Isa>` is passed for its type alone.
template <InstructionSet Isa>
[[nodiscard]] inline Words<Isa> load_bits(Portable, const std::uint8_t* data, Index count,
                                          Words<Isa>) noexcept {
  std::uint8_t block[bit_block_bytes] = {};
  std::memcpy(block, data, static_cast<std::size_t>(count));
  return load_bits<Isa>(block);
}

/// Adds the set bits of a block to the counts of a row.
template <InstructionSet Isa>
inline void add_bit_count(BitCounts<Isa>& counts, std::size_t row,
                          const Words<Isa>& bits) noexcept {
  add_bit_count(Isa{}, counts, row, bits);
}

/// Sums of neighbouring fields that double in width. Source: Warren, "Hacker's Delight", 5-1.
template <InstructionSet Isa>
inline void add_bit_count(Portable, BitCounts<Isa>& counts, std::size_t row,
                          const Words<Isa>& bits) noexcept {
  const auto fields = [](std::uint32_t mask) { return Words<Isa>::broadcast(mask); };
  Words<Isa> sums = bits - ((bits >> 1) & fields(0x55555555U));
  sums = (sums & fields(0x33333333U)) + ((sums >> 2) & fields(0x33333333U));
  sums = (sums + (sums >> 4)) & fields(0x0F0F0F0FU);
  sums = sums + (sums >> 8);
  sums = (sums + (sums >> 16)) & fields(0x3FU);
  Words<Isa>::for_each([&](auto i) {
    using Register = typename BitCounts<Isa>::Register;
    counts.rows[row] = Register(counts.rows[row] + sums.registers[i]);
  });
}

/// Writes the count of every row, [bit_count_rows].
template <InstructionSet Isa>
inline void store_bit_counts(const BitCounts<Isa>& counts, std::int32_t* sums) noexcept {
  store_bit_counts(Isa{}, counts, sums);
}

template <InstructionSet Isa>
inline void store_bit_counts(Portable, const BitCounts<Isa>& counts, std::int32_t* sums) noexcept {
  constexpr int size = Words<Isa>::register_size;
  for (std::size_t r = 0; r < bit_count_rows; ++r) {
    std::uint32_t sum = 0;
    if constexpr (size == 1) {
      sum = counts.rows[r];
    } else {
      std::uint32_t lanes[size];
      counts.rows[r].store_unaligned(lanes);
      for (const std::uint32_t lane : lanes) sum += lane;
    }
    sums[r] = static_cast<std::int32_t>(sum);
  }
}

}  // namespace nibble::simd
