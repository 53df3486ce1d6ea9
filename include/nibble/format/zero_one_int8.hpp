// Zero-one int8: the min-max map of each weight to [0, 1] and then to 0..255.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include <nibble/format/code_units.hpp>
#include <nibble/format/format.hpp>

namespace nibble {

/// weight = minimum + code * (maximum - minimum) / 255, exact at both ends of the range, because
/// the offset stays a float and is not rounded to an integer zero point.
///
/// header: float32 minima [groups][16], then maxima [groups][16]; one group for a row's or a
///         tensor's range (a tensor's is stored with each row, so that kernels know one layout)
/// codes:  [cols/4][16][4]
struct ZeroOneInt8 {
  using Unit = CodeUnit<8>;
  static constexpr std::string_view name = "zero-one-int8";
  static constexpr Index unit_inputs = Unit::inputs;
  static constexpr std::size_t unit_bytes = Unit::bytes;
  static constexpr int max_code = 255;
  static constexpr bool has_offset = true;

  Index group_size = 0;     // 32, 64, 128, or 0 for a range per row (or per tensor)
  bool per_tensor = false;  // all rows have the same range

  /// One row before packing.
  struct Row {
    std::span<const std::uint8_t> codes;  // [cols]
    std::span<const float> minima;        // [groups]
    std::span<const float> maxima;        // [groups]
  };

  [[nodiscard]] static ZeroOneInt8 make(const FormatOptions& options) {
    require_options(name, options, true, false, true);
    if (options.per_tensor && options.group_size.value_or(0) != 0) {
      fail("format ", name, ": a range per tensor and a group size exclude each other");
    }
    return {options.group_size.value_or(0), options.per_tensor};
  }
  [[nodiscard]] FormatOptions options() const {
    return {.group_size = group_size, .per_tensor = per_tensor};
  }

  [[nodiscard]] PanelLayout layout(Index cols) const {
    return Unit::layout(cols, group_size, 2 * sizeof(float), false);
  }

  static void write_row(std::byte* panel, const PanelLayout& layout, Index lane, Index,
                        const Row& row) {
    for (Index group = 0; group < layout.groups; ++group) {
      const auto g = static_cast<std::size_t>(group);
      std::memcpy(panel + minimum_offset(lane, group), &row.minima[g], sizeof(float));
      std::memcpy(panel + maximum_offset(layout, lane, group), &row.maxima[g], sizeof(float));
    }
    Unit::write_row(panel + layout.header_bytes, lane, row.codes);
  }

  [[nodiscard]] static unsigned code(const std::byte* panel, const PanelLayout& layout, Index lane,
                                     Index col) noexcept {
    return Unit::read(panel + layout.header_bytes, lane, col);
  }
  [[nodiscard]] static float minimum(const std::byte* panel, Index lane, Index group) noexcept {
    return load_float(panel + minimum_offset(lane, group));
  }
  [[nodiscard]] static float maximum(const std::byte* panel, const PanelLayout& layout, Index lane,
                                     Index group) noexcept {
    return load_float(panel + maximum_offset(layout, lane, group));
  }
  /// Computed in double and rounded to float. A mean of the two ends rather than a sum of the lower
  /// one and a step, so that both ends come out exactly however much they differ in size.
  [[nodiscard]] static float value(const std::byte* panel, const PanelLayout& layout, Index lane,
                                   Index col) noexcept {
    const Index group = col / layout.group_size;
    const double low = minimum(panel, lane, group);
    const double high = maximum(panel, layout, lane, group);
    const unsigned level = code(panel, layout, lane, col);
    return static_cast<float>(((255U - level) * low + level * high) / 255.0);
  }

  static void check_header(const std::byte* panel, const PanelLayout& layout) {
    for (Index group = 0; group < layout.groups; ++group) {
      for (Index lane = 0; lane < panel_rows; ++lane) {
        const float low = minimum(panel, lane, group);
        const float high = maximum(panel, layout, lane, group);
        if (!std::isfinite(high - low)) {  // finite only if both ends are
          fail("range [", group, "][", lane, "] is ", low, " to ", high);
        }
      }
    }
  }

  template <simd::InstructionSet Isa>
  static void unpack(const std::byte* unit, simd::Words<Isa>* quads) noexcept {
    Unit::template unpack<Isa>(unit, quads);
  }
  /// Codes are taken from the middle of the range, so that sums of products stay small: the
  /// offset is the weight of code 128. In float: the step has three roundings, the offset and the
  /// weight one each (two without a fused multiply-add), so a weight differs from the exact one by
  /// at most 9 * 2^-24 times the range's larger end in absolute value.
  template <simd::InstructionSet Isa>
  [[nodiscard]] static GroupMap<Isa> load_group(const std::byte* panel, const PanelLayout& layout,
                                                Index group) noexcept {
    using Floats = simd::Floats<Isa>;
    const auto low = Floats::load(reinterpret_cast<const float*>(panel + minimum_offset(0, group)));
    const auto high =
        Floats::load(reinterpret_cast<const float*>(panel + maximum_offset(layout, 0, group)));
    const Floats step = (high - low) * Floats::broadcast(1.0F / 255.0F);
    return {step, simd::Ints<Isa>::broadcast(128), fma(step, Floats::broadcast(128.0F), low)};
  }

  friend bool operator==(const ZeroOneInt8&, const ZeroOneInt8&) = default;

 private:
  [[nodiscard]] static float load_float(const std::byte* at) noexcept {
    float value = 0;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  [[nodiscard]] static std::size_t minimum_offset(Index lane, Index group) noexcept {
    return static_cast<std::size_t>(group * panel_rows + lane) * sizeof(float);
  }
  [[nodiscard]] static std::size_t maximum_offset(const PanelLayout& layout, Index lane,
                                                  Index group) noexcept {
    return minimum_offset(lane, layout.groups + group);
  }
};

static_assert(IntegerWeightFormat<ZeroOneInt8>);

}  // namespace nibble
