// How codes of 8, 4, 3 and 2 bits lie in a panel, and how they come out of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/core/checked.hpp>
#include <nibble/format/panels.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// A unit is the smallest run of inputs that is unpacked together. "Quad" q of a unit are its
/// inputs 4q to 4q + 3; byte [row][j] of a 64-byte vector belongs to input j of a quad.
///
/// | bits | unit | layout |
/// | --- | --- | --- |
/// | 8 | 4 inputs, 64 bytes | the quad itself |
/// | 4 | 8 inputs, 64 bytes | low nibbles quad 0, high nibbles quad 1 |
/// | 3 | 32 inputs, 192 bytes | vector v: bits 0-2 quad 2v, bits 3-5 quad 2v + 1; bits 6-7 of
///     vectors 0 and 1: bits 0-1 of quads 6 and 7; bits 6 and 7 of vector 2: bit 2 of quads 6, 7 |
/// | 2 | 16 inputs, 64 bytes | bits 2q and 2q + 1: quad q |
template <int Bits>
struct CodeUnit {
  static_assert(Bits == 8 || Bits == 4 || Bits == 3 || Bits == 2);
  static constexpr Index inputs = Bits == 8 ? 4 : Bits == 4 ? 8 : Bits == 3 ? 32 : 16;
  static constexpr std::size_t bytes = Bits == 3 ? 192 : 64;
  static constexpr Index quads = inputs / 4;

  /// Of rows in groups of `group_size` inputs (0: a whole row) that keep `group_bytes` in the
  /// header for each row and group.
  [[nodiscard]] static PanelLayout layout(Index cols, Index group_size, std::size_t group_bytes,
                                          bool has_zeros) noexcept {
    const Index size = group_size == 0 ? cols : group_size;
    const Index groups = size == 0 ? 0 : divide_up(cols, size);
    const std::size_t header =
        round_up(static_cast<std::size_t>(groups * panel_rows) * group_bytes, alignment);
    return {.group_size = size,
            .groups = groups,
            .has_zeros = has_zeros,
            .header_bytes = header,
            .panel_bytes = header + static_cast<std::size_t>(divide_up(cols, inputs)) * bytes};
  }

  /// Stores the codes of a row where zero bits are.
  static void write_row(std::byte* codes, Index lane, std::span<const std::uint8_t> row) noexcept {
    Index col = 0;
    for (const std::uint8_t code : row) write(codes, lane, col++, code);
  }

  /// Stores a code below 2^Bits where zero bits are; `codes` is where the panel's codes begin.
  static void write(std::byte* codes, Index lane, Index col, unsigned code) noexcept {
    visit_parts(lane, col, [&](std::size_t byte, int shift, int first_bit, int bits) {
      const unsigned part = (code >> first_bit) & ((1U << bits) - 1U);
      codes[byte] |= static_cast<std::byte>(part << shift);
    });
  }

  [[nodiscard]] static unsigned read(const std::byte* codes, Index lane, Index col) noexcept {
    unsigned code = 0;
    visit_parts(lane, col, [&](std::size_t byte, int shift, int first_bit, int bits) {
      const unsigned part = (std::to_integer<unsigned>(codes[byte]) >> shift) & ((1U << bits) - 1U);
      code |= part << first_bit;
    });
    return code;
  }

  /// One unit as `quads` vectors of [16 rows][4 inputs] bytes.
  template <simd::InstructionSet Isa>
  static void unpack(const std::byte* unit, simd::Words<Isa>* quads_out) noexcept {
    using Words = simd::Words<Isa>;
    const auto vector = [unit](int index) {
      return Words::load(reinterpret_cast<const std::uint32_t*>(unit + 64 * index));
    };
    // Shifts move bits across bytes; the mask of each byte drops what came from its neighbour.
    if constexpr (Bits == 8) {
      quads_out[0] = vector(0);
    } else if constexpr (Bits == 4) {
      const Words mask = Words::broadcast(0x0F0F0F0FU);
      const Words codes = vector(0);
      quads_out[0] = codes & mask;
      quads_out[1] = (codes >> 4) & mask;
    } else if constexpr (Bits == 2) {
      const Words mask = Words::broadcast(0x03030303U);
      const Words codes = vector(0);
      simd::unroll<4>([&](auto quad) { quads_out[quad] = (codes >> (2 * quad)) & mask; });
    } else {
      const Words three = Words::broadcast(0x07070707U);
      const Words two = Words::broadcast(0x03030303U);
      const Words third = Words::broadcast(0x04040404U);
      const Words v[3] = {vector(0), vector(1), vector(2)};
      simd::unroll<3>([&](auto i) {
        quads_out[2 * i] = v[i] & three;
        quads_out[2 * i + 1] = (v[i] >> 3) & three;
      });
      quads_out[6] = ((v[0] >> 6) & two) | ((v[2] >> 4) & third);
      quads_out[7] = ((v[1] >> 6) & two) | ((v[2] >> 5) & third);
    }
  }

 private:
  /// Calls visit(byte, shift, first_bit, bits) for each run of a code's bits that lies together.
  template <class Visit>
  static void visit_parts(Index lane, Index col, Visit&& visit) noexcept {
    const Index unit = col / inputs;
    const Index quad = col % inputs / 4;
    const std::size_t base = static_cast<std::size_t>(unit) * bytes +
                             static_cast<std::size_t>(lane) * 4 + static_cast<std::size_t>(col % 4);
    const auto vector = [base](Index index) { return base + static_cast<std::size_t>(index) * 64; };
    if constexpr (Bits == 3) {
      if (quad < 6) {
        visit(vector(quad / 2), quad % 2 == 0 ? 0 : 3, 0, 3);
      } else {
        visit(vector(quad - 6), 6, 0, 2);
        visit(vector(2), quad == 6 ? 6 : 7, 2, 1);
      }
    } else {
      visit(base, static_cast<int>(quad) * Bits, 0, Bits);
    }
  }
};

}  // namespace nibble
