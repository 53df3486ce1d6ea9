// GPTQ-style integers: groups of inputs share a float16 scale, and a zero point if asymmetric.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include <nibble/core/half.hpp>
#include <nibble/format/code_units.hpp>
#include <nibble/format/format.hpp>

namespace nibble {

/// weight = scale * (code - zero), with codes of 8, 4, 3 or 2 bits; zero is 2^(Bits-1) where no
/// zeros are stored.
///
/// header: Float16 scales [groups][16]; if has_zeros, uint8 zeros [groups][16]; padded to 64 bytes
/// codes:  see CodeUnit
template <int Bits>
requires(Bits == 8 || Bits == 4 || Bits == 3 || Bits == 2) struct GroupInt {
  using Unit = CodeUnit<Bits>;
  static constexpr std::string_view name = Bits == 8   ? "int8"
                                           : Bits == 4 ? "int4"
                                           : Bits == 3 ? "int3"
                                                       : "int2";
  static constexpr int bits = Bits;
  static constexpr int max_code = (1 << Bits) - 1;
  static constexpr int symmetric_zero = 1 << (Bits - 1);
  static constexpr Index default_group_size = Bits == 8 ? 0 : 128;
  static constexpr Index unit_inputs = Unit::inputs;
  static constexpr std::size_t unit_bytes = Unit::bytes;
  static constexpr bool has_offset = false;

  Index group_size = default_group_size;  // 32, 64, 128, or 0 for a whole row
  bool has_zeros = false;

  /// One row before packing; all codes and zeros at most max_code.
  struct Row {
    std::span<const std::uint8_t> codes;  // [cols]
    std::span<const Float16> scales;      // [groups]
    std::span<const std::uint8_t> zeros;  // [groups]; empty without has_zeros
  };

  [[nodiscard]] static GroupInt make(const FormatOptions& options) {
    require_options(name, options, true, true, false);
    return {options.group_size.value_or(default_group_size), options.asymmetric};
  }
  [[nodiscard]] FormatOptions options() const {
    return {.group_size = group_size, .asymmetric = has_zeros};
  }

  [[nodiscard]] PanelLayout layout(Index cols) const {
    return Unit::layout(cols, group_size, has_zeros ? 3 : 2, has_zeros);
  }

  static void write_row(std::byte* panel, const PanelLayout& layout, Index lane, Index,
                        const Row& row) {
    for (Index group = 0; group < layout.groups; ++group) {
      const auto g = static_cast<std::size_t>(group);
      std::memcpy(panel + scale_offset(lane, group), &row.scales[g], sizeof(Float16));
      if (layout.has_zeros) panel[zero_offset(layout, lane, group)] = std::byte{row.zeros[g]};
    }
    Unit::write_row(panel + layout.header_bytes, lane, row.codes);
  }

  [[nodiscard]] static unsigned code(const std::byte* panel, const PanelLayout& layout, Index lane,
                                     Index col) noexcept {
    return Unit::read(panel + layout.header_bytes, lane, col);
  }
  [[nodiscard]] static Float16 scale(const std::byte* panel, Index lane, Index group) noexcept {
    Float16 scale;
    std::memcpy(&scale, panel + scale_offset(lane, group), sizeof scale);
    return scale;
  }
  [[nodiscard]] static int zero(const std::byte* panel, const PanelLayout& layout, Index lane,
                                Index group) noexcept {
    if (!layout.has_zeros) return symmetric_zero;
    return std::to_integer<int>(panel[zero_offset(layout, lane, group)]);
  }
  [[nodiscard]] static float value(const std::byte* panel, const PanelLayout& layout, Index lane,
                                   Index col) noexcept {
    const Index group = col / layout.group_size;
    const int level =
        static_cast<int>(code(panel, layout, lane, col)) - zero(panel, layout, lane, group);
    return to_float(scale(panel, lane, group)) * static_cast<float>(level);
  }

  static void check_header(const std::byte* panel, const PanelLayout& layout) {
    for (Index group = 0; group < layout.groups; ++group) {
      for (Index lane = 0; lane < panel_rows; ++lane) {
        const Float16 factor = scale(panel, lane, group);
        if (!is_finite(factor)) fail("scale [", group, "][", lane, "] is ", to_float(factor));
        const int offset = zero(panel, layout, lane, group);
        if (offset > max_code) {
          fail("zero point [", group, "][", lane, "] is ", offset, ", above ", max_code);
        }
      }
    }
  }

  template <simd::InstructionSet Isa>
  static void unpack(const std::byte* unit, simd::Words<Isa>* quads) noexcept {
    Unit::template unpack<Isa>(unit, quads);
  }
  template <simd::InstructionSet Isa>
  [[nodiscard]] static GroupMap<Isa> load_group(const std::byte* panel, const PanelLayout& layout,
                                                Index group) noexcept {
    GroupMap<Isa> map{
        simd::load_floats<Isa>(reinterpret_cast<const Float16*>(panel + scale_offset(0, group))),
        simd::Ints<Isa>::broadcast(symmetric_zero), simd::Floats<Isa>::broadcast(0.0F)};
    if (layout.has_zeros) {
      map.zero = simd::bitwise_cast<std::int32_t>(simd::load_widened<Isa>(
          reinterpret_cast<const std::uint8_t*>(panel + zero_offset(layout, 0, group))));
    }
    return map;
  }

  friend bool operator==(const GroupInt&, const GroupInt&) = default;

 private:
  [[nodiscard]] static std::size_t scale_offset(Index lane, Index group) noexcept {
    return static_cast<std::size_t>(group * panel_rows + lane) * sizeof(Float16);
  }
  [[nodiscard]] static std::size_t zero_offset(const PanelLayout& layout, Index lane,
                                               Index group) noexcept {
    return scale_offset(0, layout.groups) + static_cast<std::size_t>(group * panel_rows + lane);
  }
};

static_assert(IntegerWeightFormat<GroupInt<4>> && IntegerWeightFormat<GroupInt<3>>);

}  // namespace nibble
