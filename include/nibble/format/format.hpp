// What a weight format is: the verbs that storage, kernels and files need of it.
#pragma once

#include <concepts>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/format/panels.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// How finely a scale or range is shared, as recipes, programs and files spell it.
struct FormatOptions {
  // Inputs per scale, 0 for a whole row; nothing for the format's default.
  std::optional<Index> group_size = std::nullopt;
  bool asymmetric = false;  // GroupInt: store a zero point per group
  bool per_tensor = false;  // ZeroOneInt8: one range for all rows

  friend bool operator==(const FormatOptions&, const FormatOptions&) = default;
};

/// A way of storing weights. A format is a small value whose fields are what may differ at run
/// time; everything else about it is static.
///
/// - `name`: as programs, recipes and files spell it
/// - `make(options)`: the format with these options, or Error where it has no such option
/// - `options()`: the inverse, every option spelled out
/// - `layout(cols)`: where things are in a panel of rows of `cols` weights
/// - `Row`: what one row is made of before packing (floats; or codes, scales and offsets)
/// - `write_row(panel, layout, lane, cols, row)`: packs a row into a zeroed panel
/// - `value(panel, layout, lane, col)`: the weight that is stored there
/// - `check_header(panel, layout)`: throws Error where a panel's header holds what `write_row` is
///   never given, such as a scale that is not finite
///
/// and for the kernels the verbs of FloatWeightFormat or of IntegerWeightFormat.
template <class F>
concept WeightFormat = std::regular<F> &&
    requires(const F format, const FormatOptions options, std::byte* panel,
             const PanelLayout layout, Index index, typename F::Row row) {
  { F::name } -> std::convertible_to<std::string_view>;
  { F::make(options) } -> std::same_as<F>;
  { format.options() } -> std::same_as<FormatOptions>;
  { format.layout(index) } -> std::same_as<PanelLayout>;
  {F::write_row(panel, layout, index, index, row)};
  { F::value(panel, layout, index, index) } -> std::same_as<float>;
  {F::check_header(panel, layout)};
};

/// Weights that are floats of some width.
///
/// - `unit_inputs`, `unit_bytes`: the smallest run of inputs that is unpacked together; 1, 2, 4 or
///   8 inputs, since kernels take 8 at a time
/// - `unpack<Isa>(unit, weights)`: unit_inputs vectors of the sixteen rows' weights
template <class F>
concept FloatWeightFormat = WeightFormat<F> &&
    requires(const std::byte* bytes, simd::Floats<simd::Portable>* weights) {
  { F::unit_inputs } -> std::convertible_to<Index>;
  { F::unit_bytes } -> std::convertible_to<std::size_t>;
  {F::template unpack<simd::Portable>(bytes, weights)};
} && F::unit_inputs >= 1 && 8 % F::unit_inputs == 0;

/// In each lane, the map from codes to weights within a group: scale * (code - zero) + offset.
template <simd::InstructionSet Isa>
struct GroupMap {
  simd::Floats<Isa> scale;
  simd::Ints<Isa> zero;
  simd::Floats<Isa> offset;  // used only where the format's `has_offset` says so
};

/// Weights that are small unsigned codes, mapped group by group.
///
/// - `unit_inputs`, `unit_bytes`: the smallest run of inputs that is unpacked together; 4, 8, 16 or
///   32 inputs, since kernels take quads, and 32 inputs at a time
/// - `max_code`: the largest code, at most 255
/// - `has_offset`: whether maps have offsets; then their zero is 128
/// - `unpack<Isa>(unit, quads)`: unit_inputs / 4 vectors of [16 rows][4 inputs] bytes
/// - `load_group<Isa>(panel, layout, group)`: the map of that group
template <class F>
concept IntegerWeightFormat = WeightFormat<F> &&
    requires(const std::byte* bytes, const PanelLayout layout, Index group,
             simd::Words<simd::Portable>* quads) {
  { F::unit_inputs } -> std::convertible_to<Index>;
  { F::unit_bytes } -> std::convertible_to<std::size_t>;
  { F::max_code } -> std::convertible_to<int>;
  { F::has_offset } -> std::convertible_to<bool>;
  {F::template unpack<simd::Portable>(bytes, quads)};
  {
    F::template load_group<simd::Portable>(bytes, layout, group)
    } -> std::same_as<GroupMap<simd::Portable>>;
} && F::unit_inputs >= 4 && F::unit_inputs % 4 == 0 && 32 % F::unit_inputs == 0;

/// Refuses the options that a format does not have.
inline void require_options(std::string_view format, const FormatOptions& options, bool groups,
                            bool asymmetric, bool per_tensor) {
  if (!groups && options.group_size.value_or(0) != 0) fail("format ", format, " has no groups");
  if (!asymmetric && options.asymmetric) fail("format ", format, " is never asymmetric");
  if (!per_tensor && options.per_tensor) fail("format ", format, " has no range per tensor");
  const Index size = options.group_size.value_or(0);
  if (size != 0 && size != 32 && size != 64 && size != 128) {
    fail("format ", format, ": group size ", size, " is not one of 32, 64, 128 and 0 (whole row)");
  }
}

}  // namespace nibble
