// JSON that may be hostile: parsing with limits, and typed access whose errors name the field.
#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/text_file.hpp>

namespace nibble {

/// Deepest nesting of arrays and objects that `parse_json` accepts.
inline constexpr std::size_t json_depth_limit = 64;

/// Most values that `parse_json` accepts in one text: several times what the largest tokenizers
/// have, and a bound on the memory that a hostile text takes.
inline constexpr std::size_t json_value_limit = std::size_t{1} << 23;

/// A JSON value as an error message shows it: scalars as written (strings clipped), containers by
/// their size.
[[nodiscard]] inline std::string describe_json(const nlohmann::json& value) {
  if (value.is_string()) return in_quotes(value.get_ref<const std::string&>());
  if (value.is_array()) return concat("an array of ", value.size(), " elements");
  if (value.is_object()) return concat("an object of ", value.size(), " fields");
  return value.dump();
}

namespace detail {

/// Walks the text and remembers how far the parser has read.
class JsonCursor {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  JsonCursor(const char* at, const char** furthest) : at_(at), furthest_(furthest) {}
  reference operator*() const { return *at_; }
  JsonCursor& operator++() {
    *furthest_ = ++at_;
    return *this;
  }
  JsonCursor operator++(int) {
    JsonCursor before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const JsonCursor& a, const JsonCursor& b) { return a.at_ == b.at_; }

 private:
  const char* at_;
  const char** furthest_;
};

/// What the parser stumbled over, from the last token it read and its exception.
[[nodiscard]] inline std::string json_syntax_error(const std::string& token,
                                                   const nlohmann::json::exception& why) {
  if (why.id == 406) return "number " + printable(token) + " does not fit a double";
  const std::string_view message = why.what();
  const bool ended = message.find("unexpected end of input") != std::string_view::npos;
  return ended ? "unexpected end of the text" : "unexpected " + in_quotes(token);
}

/// SAX events into a tree; refuses duplicate keys and deep nesting.
class JsonBuilder {
 public:
  explicit JsonBuilder(nlohmann::json& root) : root_(root) {}

  bool null() { return put(nullptr) != nullptr; }
  bool boolean(bool value) { return put(value) != nullptr; }
  bool number_integer(std::int64_t value) { return put(value) != nullptr; }
  bool number_unsigned(std::uint64_t value) { return put(value) != nullptr; }
  bool number_float(double value, const std::string&) { return put(value) != nullptr; }
  bool string(std::string& value) { return put(std::move(value)) != nullptr; }
  bool binary(nlohmann::json::binary_t&) { return false; }
  bool start_object(std::size_t) { return open(nlohmann::json::object()); }
  bool end_object() { return close(); }
  bool start_array(std::size_t) { return open(nlohmann::json::array()); }
  bool end_array() { return close(); }

  bool key(std::string& name) {
    const auto [place, fresh] = open_.back()->emplace(std::move(name), nullptr);
    if (!fresh) {
      error_ = "duplicate key " + in_quotes(place.key());
      return false;
    }
    member_ = &*place;
    return true;
  }

  bool parse_error(std::size_t, const std::string& token, const nlohmann::json::exception& why) {
    error_ = json_syntax_error(token, why);
    return false;
  }

  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  /// Stores the next value where it belongs: in the member just named, at the open array's end, or
  /// as the root. nullptr where there are too many.
  nlohmann::json* put(nlohmann::json value) {
    if (++values_ > json_value_limit) {
      error_ = concat("more than ", json_value_limit, " values");
      return nullptr;
    }
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (open_.back()->is_object()) {
      *member_ = std::move(value);
      return member_;
    }
    auto& elements = open_.back()->get_ref<nlohmann::json::array_t&>();
    elements.push_back(std::move(value));
    return &elements.back();
  }

  bool open(nlohmann::json container) {
    if (open_.size() == json_depth_limit) {
      error_ = concat("nested deeper than ", json_depth_limit, " levels");
      return false;
    }
    nlohmann::json* place = put(std::move(container));
    if (place == nullptr) return false;
    open_.push_back(place);
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  nlohmann::json& root_;
  std::vector<nlohmann::json*> open_;  // pointers stay valid: only the innermost container grows
  nlohmann::json* member_ = nullptr;
  std::size_t values_ = 0;
  std::string error_;
};

/// Feeds `text` to a SAX handler that has an `error()`, the reason for which an event of it
/// returned false; throws that reason with `source` and the byte.
template <class Handler>
void walk_json(std::string_view text, std::string_view source, Handler& handler) {
  if (const auto zero = text.find('\0'); zero != std::string_view::npos) {
    // The lexer would take it for the end.
    fail(source, ": byte ", zero, ": a zero byte, expected valid JSON");
  }
  const char* const begin = text.data();
  const char* furthest = begin;
  const JsonCursor first(begin, &furthest), last(begin + text.size(), &furthest);
  if (!nlohmann::json::sax_parse(first, last, &handler)) {
    fail(source, ": byte ", furthest - begin, ": ", handler.error());
  }
}

}  // namespace detail

/// Parses one JSON text. Throws `Error`, naming `source` and the byte, for malformed JSON or UTF-8,
/// a key given twice in one object, nesting beyond `json_depth_limit`, more than `json_value_limit`
/// values, and anything after the value.
[[nodiscard]] inline nlohmann::json parse_json(std::string_view text, std::string_view source) {
  nlohmann::json root;
  detail::JsonBuilder builder(root);
  detail::walk_json(text, source, builder);
  return root;
}

/// Parses a JSON file of at most `max_bytes`. Throws `Error` as `read_text_file` and `parse_json`.
[[nodiscard]] inline nlohmann::json read_json_file(const std::filesystem::path& path,
                                                   std::uint64_t max_bytes = std::uint64_t{256}
                                                                             << 20) {
  return parse_json(read_text_file(path, max_bytes), path_text(path));
}

/// What `json_value` and the field helpers can produce: bool, integers, floating point, string.
template <class T>
concept JsonScalar = std::integral<T> || std::floating_point<T> || std::same_as<T, std::string>;

namespace detail {

template <class T>
inline constexpr bool is_json_vector = false;
template <JsonScalar T>
inline constexpr bool is_json_vector<std::vector<T>> = true;

/// Throws the error of a field with the wrong content.
[[noreturn]] inline void fail_json(std::string_view where, std::string_view expected,
                                   const nlohmann::json& found) {
  fail(where, ": expected ", expected, ", found ", describe_json(found));
}

template <std::integral T>
[[nodiscard]] T json_integer(const nlohmann::json& value, std::string_view where, T minimum,
                             T maximum) {
  bool fits = false;
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    fits = std::cmp_greater_equal(number, minimum) && std::cmp_less_equal(number, maximum);
  } else if (value.is_number_integer()) {
    const auto number = value.get<std::int64_t>();
    fits = std::cmp_greater_equal(number, minimum) && std::cmp_less_equal(number, maximum);
  } else {
    fail_json(where, minimum == 1 ? "a positive integer" : "an integer", value);
  }
  if (!fits) {
    // Widened by +, so that the 8-bit types print as numbers.
    fail_json(where, concat("an integer from ", +minimum, " to ", +maximum), value);
  }
  return value.get<T>();
}

}  // namespace detail

/// A scalar, or a vector of scalars.
template <class T>
concept JsonReadable = JsonScalar<T> || detail::is_json_vector<T>;

/// `value` as T, exactly: no conversion from bool or from a fraction to an integer, nothing out of
/// T's range, nothing infinite. `where` ("config.json: field 'x'") starts the message of the
/// `Error` thrown otherwise.
template <JsonReadable T>
[[nodiscard]] T json_value(const nlohmann::json& value, std::string_view where) {
  if constexpr (std::same_as<T, bool>) {
    if (!value.is_boolean()) detail::fail_json(where, "true or false", value);
    return value.get<bool>();
  } else if constexpr (std::integral<T>) {
    return detail::json_integer<T>(value, where, std::numeric_limits<T>::min(),
                                   std::numeric_limits<T>::max());
  } else if constexpr (std::floating_point<T>) {
    if (!value.is_number()) detail::fail_json(where, "a number", value);
    const auto number = value.get<double>();
    if (std::abs(number) > static_cast<double>(std::numeric_limits<T>::max())) {
      detail::fail_json(where, "a number within range", value);
    }
    return static_cast<T>(number);
  } else if constexpr (std::same_as<T, std::string>) {
    if (!value.is_string()) detail::fail_json(where, "a string", value);
    return value.get<std::string>();
  } else {
    if (!value.is_array()) detail::fail_json(where, "an array", value);
    T elements;
    elements.reserve(value.size());
    for (std::size_t i = 0; i < value.size(); ++i) {
      elements.push_back(
          json_value<typename T::value_type>(value[i], concat(where, " element ", i)));
    }
    return elements;
  }
}

/// "source: field 'key'", as the errors of the helpers below begin.
[[nodiscard]] inline std::string json_where(std::string_view source, std::string_view key) {
  return concat(source, ": field '", printable(key), "'");
}

/// The member `key` of `object`, or nullptr where it is absent or null. Throws `Error` where
/// `object` is no object.
[[nodiscard]] inline const nlohmann::json* json_find(const nlohmann::json& object,
                                                     std::string_view key,
                                                     std::string_view source) {
  if (!object.is_object()) detail::fail_json(source, "an object", object);
  const auto place = object.find(std::string(key));
  return place == object.end() || place->is_null() ? nullptr : &*place;
}

/// The member `key` of `object`. Throws `Error` where it is absent or null.
[[nodiscard]] inline const nlohmann::json& json_at(const nlohmann::json& object,
                                                   std::string_view key, std::string_view source) {
  const nlohmann::json* value = json_find(object, key, source);
  if (value == nullptr) fail(json_where(source, key), ": missing");
  return *value;
}

/// The member `key` as T; absent or null, or not exactly a T, is an `Error`.
template <JsonReadable T>
[[nodiscard]] T json_field(const nlohmann::json& object, std::string_view key,
                           std::string_view source) {
  return json_value<T>(json_at(object, key, source), json_where(source, key));
}

/// As above for an integer, from `minimum` to `maximum`, both included.
template <std::integral T>
[[nodiscard]] T json_field(const nlohmann::json& object, std::string_view key,
                           std::string_view source, std::type_identity_t<T> minimum,
                           std::type_identity_t<T> maximum) {
  return detail::json_integer<T>(json_at(object, key, source), json_where(source, key), minimum,
                                 maximum);
}

/// The member `key` as T, or nothing where it is absent or null; any other content is an `Error`.
template <JsonReadable T>
[[nodiscard]] std::optional<T> json_optional(const nlohmann::json& object, std::string_view key,
                                             std::string_view source) {
  const nlohmann::json* value = json_find(object, key, source);
  if (value == nullptr) return std::nullopt;
  return json_value<T>(*value, json_where(source, key));
}

/// As above for an integer, from `minimum` to `maximum`, both included.
template <std::integral T>
[[nodiscard]] std::optional<T> json_optional(const nlohmann::json& object, std::string_view key,
                                             std::string_view source,
                                             std::type_identity_t<T> minimum,
                                             std::type_identity_t<T> maximum) {
  const nlohmann::json* value = json_find(object, key, source);
  if (value == nullptr) return std::nullopt;
  return detail::json_integer<T>(*value, json_where(source, key), minimum, maximum);
}

}  // namespace nibble
