// UTF-8: decoding code by code, validation, encoding, and replacement of malformed parts.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace nibble::text {

/// U+FFFD, which stands for what is not text.
inline constexpr std::string_view replacement_character = "\xef\xbf\xbd";

enum class Utf8State {
  Valid,      ///< one code point
  Invalid,    ///< bytes that no continuation makes valid
  Incomplete  ///< the start of a code point, cut by the end of the text
};

/// The first code point of a text. Of malformed text, `length` covers the longest part that a valid
/// sequence could start with, or one byte (Unicode 15, section 3.9, table 3-8): each such part
/// becomes one U+FFFD, as in Rust, Python and the WHATWG decoder.
struct Utf8Step {
  Utf8State state;
  char32_t code_point;  // 0 unless Valid
  std::size_t length;   // bytes, at least 1
};

/// Decodes the start of `text`, which is not empty.
[[nodiscard]] constexpr Utf8Step utf8_step(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {Utf8State::Valid, lead, 1};
  if (lead < 0xc2 || lead > 0xf4) return {Utf8State::Invalid, 0, 1};
  const std::size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // The second byte's range excludes overlong forms, surrogates and what lies beyond U+10FFFF.
  const unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  auto code = static_cast<char32_t>(lead & (0x7f >> length));
  for (std::size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Utf8State::Incomplete, 0, i};
    const unsigned char next = byte(i);
    const bool fits = i == 1 ? next >= low && next <= high : (next & 0xc0) == 0x80;
    if (!fits) return {Utf8State::Invalid, 0, i};
    code = code << 6 | (next & 0x3fu);
  }
  return {Utf8State::Valid, code, length};
}

/// Where `text` stops being valid UTF-8, in bytes; nothing where all of it is valid.
[[nodiscard]] constexpr std::optional<std::size_t> find_invalid_utf8(
    std::string_view text) noexcept {
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text.substr(at));
    if (step.state != Utf8State::Valid) return at;
    at += step.length;
  }
  return std::nullopt;
}

/// Appends a code point (at most U+10FFFF, no surrogate).
inline void append_utf8(std::string& out, char32_t code) {
  const auto put = [&](char32_t bits) { out.push_back(static_cast<char>(bits)); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xc0 | code >> 6);
  } else {
    if (code < 0x10000) {
      put(0xe0 | code >> 12);
    } else {
      put(0xf0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3f));
    }
    put(0x80 | (code >> 6 & 0x3f));
  }
  put(0x80 | (code & 0x3f));
}

/// Appends `bytes` as text with U+FFFD for each malformed part, except an incomplete code point at
/// the very end: the number of bytes before it is returned.
inline std::size_t append_lossy(std::string& out, std::string_view bytes) {
  std::size_t at = 0;
  while (at < bytes.size()) {
    const Utf8Step step = utf8_step(bytes.substr(at));
    if (step.state == Utf8State::Incomplete) break;
    if (step.state == Utf8State::Valid) {
      out.append(bytes.substr(at, step.length));
    } else {
      out.append(replacement_character);
    }
    at += step.length;
  }
  return at;
}

}  // namespace nibble::text
