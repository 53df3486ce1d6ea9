// A quantizer and its options as JSON: the one spelling of recipes, files and programs.
#pragma once

#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include <nlohmann/json.hpp>

#include <nibble/io/json.hpp>
#include <nibble/quantize/quantizers.hpp>

namespace nibble {

/// {option: value, ...}, all of them; empty for a quantizer without any.
[[nodiscard]] inline nlohmann::json quantizer_options(const AnyQuantizer& quantizer) {
  nlohmann::json json = nlohmann::json::object();
  std::visit(
      [&]<class Q>(const Q& q) {
        Q::for_each_option(q, [&](const char* name, const auto& option) { json[name] = option; });
      },
      quantizer);
  return json;
}

/// Sets the options that an object names. Throws Error, starting with `where`, for an unknown one
/// or a value of another type or beyond what is sensible.
inline void set_quantizer_options(AnyQuantizer& quantizer, const nlohmann::json& options,
                                  std::string_view where) {
  if (!options.is_object()) fail(where, ": expected an object, found ", describe_json(options));
  const nlohmann::json known = quantizer_options(quantizer);
  for (const auto& [key, value] : options.items()) {
    if (!known.contains(key)) {
      fail(where, ": method ", quantizer_name(quantizer), " has no option ", in_quotes(key));
    }
  }
  std::visit(
      [&]<class Q>(Q& q) {
        Q::for_each_option(q, [&]<class T>(const char* name, T& option) {
          if constexpr (std::is_same_v<T, int>) {
            option = json_optional<int>(options, name, where, 0, 100).value_or(option);
          } else {
            option = json_optional<T>(options, name, where).value_or(option);
          }
          if constexpr (std::is_same_v<T, double>) {
            if (!(option >= 0 && option <= 1)) {
              fail(where, ": ", name, ": expected a number from 0 to 1, found ", option);
            }
          }
        });
      },
      quantizer);
}

}  // namespace nibble
