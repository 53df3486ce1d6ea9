// GPT-2's alphabet: each byte has a printable code point, so that tokens can be written as text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <nibble/text/utf8.hpp>

namespace nibble::text {

namespace detail {

/// Printable Latin-1 stands for itself; the other 68 bytes follow from U+0100 in ascending order
/// (GPT-2, `encoder.py`, bytes_to_unicode).
[[nodiscard]] constexpr std::array<char32_t, 256> make_byte_alphabet() noexcept {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
    alphabet[byte] = printable ? byte : next++;
  }
  return alphabet;
}

inline constexpr std::array<char32_t, 256> byte_alphabet = make_byte_alphabet();
inline constexpr std::size_t byte_alphabet_end = 0x144;

/// Code point -> byte, or -1.
[[nodiscard]] constexpr std::array<std::int16_t, byte_alphabet_end> invert_byte_alphabet() {
  std::array<std::int16_t, byte_alphabet_end> bytes{};
  bytes.fill(-1);
  for (std::size_t byte = 0; byte < 256; ++byte) {
    bytes[byte_alphabet[byte]] = static_cast<std::int16_t>(byte);
  }
  return bytes;
}

inline constexpr auto bytes_of_alphabet = invert_byte_alphabet();

}  // namespace detail

/// The code point that stands for `byte`: U+0021 to U+0143.
[[nodiscard]] constexpr char32_t byte_to_code_point(unsigned char byte) noexcept {
  return detail::byte_alphabet[byte];
}

/// The byte that `code` stands for, or nothing where it is none of the 256.
[[nodiscard]] constexpr std::optional<unsigned char> code_point_to_byte(char32_t code) noexcept {
  if (code >= detail::byte_alphabet_end || detail::bytes_of_alphabet[code] < 0) return std::nullopt;
  return static_cast<unsigned char>(detail::bytes_of_alphabet[code]);
}

/// Appends `bytes` written in the alphabet.
inline void append_byte_level(std::string& out, std::string_view bytes) {
  for (const char byte : bytes) {
    append_utf8(out, byte_to_code_point(static_cast<unsigned char>(byte)));
  }
}

/// Appends the bytes that `written` (valid UTF-8) stands for; false, and nothing appended, where it
/// has a code point outside the alphabet.
[[nodiscard]] inline bool append_bytes_of(std::string& out, std::string_view written) {
  const std::size_t before = out.size();
  for (std::size_t at = 0; at < written.size();) {
    const Utf8Step step = utf8_step(written.substr(at));
    const auto byte = code_point_to_byte(step.code_point);
    if (!byte) {
      out.resize(before);
      return false;
    }
    out.push_back(static_cast<char>(*byte));
    at += step.length;
  }
  return true;
}

}  // namespace nibble::text
