// The list of weight formats: what programs, files, kernels and tests iterate.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include <nibble/format/float_format.hpp>
#include <nibble/format/group_int.hpp>
#include <nibble/format/zero_one_int8.hpp>

namespace nibble {

/// A compile-time list of weight formats.
template <WeightFormat... F>
struct FormatList {
  static constexpr std::size_t size = sizeof...(F);

  /// std::variant of Wrapper<F>...
  template <template <class> class Wrapper>
  using Variant = std::variant<Wrapper<F>...>;

  static constexpr std::array<std::string_view, size> names{F::name...};

  /// The position of a format in the list.
  template <class Format>
  static constexpr std::size_t index_of = [] {
    constexpr std::array same{std::is_same_v<Format, F>...};
    for (std::size_t i = 0; i < size; ++i) {
      if (same[i]) return i;
    }
    return size;
  }();

  /// Calls visit(std::type_identity<F>{}) for each format.
  template <class Visit>
  static constexpr void for_each(Visit&& visit) {
    (visit(std::type_identity<F>{}), ...);
  }
};

/// All weight formats, from the widest to the narrowest.
using Formats = FormatList<Float32Format, Float16Format, BFloat16Format, ZeroOneInt8, GroupInt<8>,
                           GroupInt<4>, GroupInt<3>, GroupInt<2>>;

/// Any format with its run-time fields.
using AnyFormat = Formats::Variant<std::type_identity_t>;

/// The names of all formats, joined by commas, for messages.
[[nodiscard]] inline std::string format_names() {
  std::string names;
  for (const std::string_view name : Formats::names) {
    if (!names.empty()) names += ", ";
    names += name;
  }
  return names;
}

/// The format of that name with these options. Throws Error for an unknown name, or an option
/// that the format does not have.
[[nodiscard]] inline AnyFormat make_format(std::string_view name,
                                           const FormatOptions& options = {}) {
  std::optional<AnyFormat> found;
  Formats::for_each([&]<class F>(std::type_identity<F>) {
    if (name == F::name) found = AnyFormat(F::make(options));
  });
  if (!found) fail("unknown format '", name, "'; expected one of: ", format_names());
  return *found;
}

[[nodiscard]] inline std::string_view format_name(const AnyFormat& format) {
  return std::visit([]<class F>(const F&) { return std::string_view(F::name); }, format);
}

[[nodiscard]] inline FormatOptions format_options(const AnyFormat& format) {
  return std::visit([](const auto& value) { return value.options(); }, format);
}

/// As people write it: "int4 g128 asymmetric".
[[nodiscard]] inline std::string describe_format(const AnyFormat& format) {
  const FormatOptions options = format_options(format);
  std::string text(format_name(format));
  if (options.group_size.value_or(0) != 0) text += concat(" g", *options.group_size);
  if (options.asymmetric) text += " asymmetric";
  if (options.per_tensor) text += " per tensor";
  return text;
}

}  // namespace nibble
