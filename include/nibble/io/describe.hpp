// Text from files and paths made fit for an error message: one line, clipped, nothing unprintable.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace nibble {

/// Longest run of foreign text, in bytes, that an error message repeats.
inline constexpr std::size_t message_text_limit = 60;

namespace detail {

/// Length of the well-formed UTF-8 sequence that `text` (not empty) starts with, or 0.
[[nodiscard]] inline std::size_t utf8_length(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
  }
  const unsigned second = byte(1);
  const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
  const bool surrogate = lead == 0xed && second >= 0xa0;
  const bool beyond = lead == 0xf4 && second >= 0x90;
  return overlong || surrogate || beyond ? 0 : length;
}

/// Whether a well-formed sequence would break the line or steer a terminal.
[[nodiscard]] inline bool is_control(std::string_view sequence) noexcept {
  const auto first = static_cast<unsigned char>(sequence[0]);
  if (sequence.size() == 1) return first < 0x20 || first == 0x7f;
  if (sequence.size() == 2) return first == 0xc2 && static_cast<unsigned char>(sequence[1]) < 0xa0;
  return sequence == "\xe2\x80\xa8" || sequence == "\xe2\x80\xa9";  // line, paragraph separator
}

}  // namespace detail

/// `text` on one line: control characters and malformed UTF-8 become \xNN, and what exceeds
/// `limit` bytes is replaced by "...".
[[nodiscard]] inline std::string printable(std::string_view text,
                                           std::size_t limit = message_text_limit) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  while (!text.empty()) {
    const std::size_t length = detail::utf8_length(text);
    const bool escape = length == 0 || detail::is_control(text.substr(0, length));
    const std::size_t taken = length == 0 ? 1 : length;
    if (out.size() + (escape ? 4 * taken : taken) > limit) return out + "...";
    for (std::size_t i = 0; i < taken; ++i) {
      if (!escape) {
        out += text[i];
        continue;
      }
      const auto byte = static_cast<unsigned char>(text[i]);
      out += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
    }
    text.remove_prefix(taken);
  }
  return out;
}

/// `text` as `printable`, between double quotes.
[[nodiscard]] inline std::string in_quotes(std::string_view text,
                                           std::size_t limit = message_text_limit) {
  return '"' + printable(text, limit) + '"';
}

/// A path as UTF-8 on one line, for a message (not for opening).
[[nodiscard]] inline std::string path_text(const std::filesystem::path& path) {
  const auto text = path.u8string();
  constexpr std::size_t limit = 4096;
  return printable(std::string(text.begin(), text.end()), limit);
}

}  // namespace nibble
