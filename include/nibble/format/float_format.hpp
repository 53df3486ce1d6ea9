// Weights as floats: 32-bit, binary16 and bfloat16.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include <nibble/core/half.hpp>
#include <nibble/format/format.hpp>

namespace nibble {

/// The weight itself, as T: float, Float16 or BFloat16.
///
/// codes: float and Float16 [cols][16]; BFloat16 [cols/2][16][2], the pairs that its dot-product
/// instructions take. No header.
template <FloatElement T>
struct FloatFormat {
  using Element = T;
  static constexpr std::string_view name = std::same_as<T, float>     ? "float32"
                                           : std::same_as<T, Float16> ? "float16"
                                                                      : "bfloat16";
  /// Inputs that lie side by side in a row of the panel.
  static constexpr Index unit_inputs = std::same_as<T, BFloat16> ? 2 : 1;
  static constexpr std::size_t unit_bytes = unit_inputs * panel_rows * sizeof(T);

  /// A row's weights, [cols]; rounded to T (ties to even) when written.
  using Row = std::span<const float>;

  [[nodiscard]] static FloatFormat make(const FormatOptions& options) {
    require_options(name, options, false, false, false);
    return {};
  }
  [[nodiscard]] FormatOptions options() const { return {.group_size = 0}; }

  [[nodiscard]] PanelLayout layout(Index cols) const {
    const auto inputs = static_cast<std::size_t>(round_up(cols, unit_inputs));
    return {.group_size = cols,
            .groups = 0,
            .has_zeros = false,
            .header_bytes = 0,
            .panel_bytes = round_up(inputs * panel_rows * sizeof(T), alignment)};
  }

  static void write_row(std::byte* panel, const PanelLayout&, Index lane, Index cols, Row row) {
    for (Index col = 0; col < cols; ++col) {
      const T value = from_float<T>(row[static_cast<std::size_t>(col)]);
      std::memcpy(panel + offset(lane, col), &value, sizeof value);
    }
  }

  [[nodiscard]] static float value(const std::byte* panel, const PanelLayout&, Index lane,
                                   Index col) noexcept {
    T value;
    std::memcpy(&value, panel + offset(lane, col), sizeof value);
    return to_float(value);
  }

  static void check_header(const std::byte*, const PanelLayout&) noexcept {}

  template <simd::InstructionSet Isa>
  static void unpack(const std::byte* unit, simd::Floats<Isa>* weights) noexcept {
    if constexpr (unit_inputs == 2) {
      // A 32-bit lane holds two inputs; either becomes a float by moving it to the upper half.
      const auto pairs = simd::Words<Isa>::load(reinterpret_cast<const std::uint32_t*>(unit));
      weights[0] = simd::bitwise_cast<float>(pairs << 16);
      weights[1] = simd::bitwise_cast<float>(pairs & simd::Words<Isa>::broadcast(0xFFFF0000U));
    } else {
      weights[0] = simd::load_floats<Isa>(reinterpret_cast<const T*>(unit));
    }
  }

  friend bool operator==(const FloatFormat&, const FloatFormat&) = default;

 private:
  [[nodiscard]] static std::size_t offset(Index lane, Index col) noexcept {
    const Index element = (col / unit_inputs * panel_rows + lane) * unit_inputs + col % unit_inputs;
    return static_cast<std::size_t>(element) * sizeof(T);
  }
};

using Float32Format = FloatFormat<float>;
using Float16Format = FloatFormat<Float16>;
using BFloat16Format = FloatFormat<BFloat16>;

static_assert(FloatWeightFormat<Float32Format> && FloatWeightFormat<Float16Format> &&
              FloatWeightFormat<BFloat16Format>);

}  // namespace nibble
