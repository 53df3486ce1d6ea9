// A format and its options as JSON: the one spelling of recipes, files and programs.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include <nibble/format/formats.hpp>
#include <nibble/io/json.hpp>

namespace nibble {

/// {"format", "group", "asymmetric", "per_tensor"}, the options spelled out.
[[nodiscard]] inline nlohmann::json format_to_json(const AnyFormat& format) {
  const FormatOptions options = format_options(format);
  return {{"format", format_name(format)},
          {"group", options.group_size.value_or(0)},
          {"asymmetric", options.asymmetric},
          {"per_tensor", options.per_tensor}};
}

/// The format that an object describes; an option that it leaves out has its default. Throws
/// Error, starting with `where`, for a missing or unknown format or options that it does not have.
[[nodiscard]] inline AnyFormat format_from_json(const nlohmann::json& object,
                                                std::string_view where) {
  FormatOptions options;
  options.group_size = json_optional<Index>(object, "group", where);
  options.asymmetric = json_optional<bool>(object, "asymmetric", where).value_or(false);
  options.per_tensor = json_optional<bool>(object, "per_tensor", where).value_or(false);
  const auto name = json_field<std::string>(object, "format", where);
  try {
    return make_format(printable(name), options);
  } catch (const Error& error) {
    fail(where, ": ", error.what());
  }
}

}  // namespace nibble
