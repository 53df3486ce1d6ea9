// Cutting a text into passages of a few sentences, each to be found by itself.
#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nibble {

/// Lengths in characters (code points).
struct PassageOptions {
  std::size_t joined = 300;   // sentences are joined until a passage is longer than this
  std::size_t longest = 600;  // which no passage exceeds
};

namespace passages_detail {

[[nodiscard]] constexpr bool is_space(char c) noexcept {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

/// The first character of a text that is not empty: a byte, and those that continue it.
[[nodiscard]] constexpr std::string_view first_character(std::string_view text) noexcept {
  std::size_t size = 1;
  while (size < text.size() && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) ++size;
  return text.substr(0, size);
}

/// What ends a sentence where white space follows, what does so anyway, and what may stand between.
// Ellipsis; full-width stops; right quotation marks, guillemet, corner brackets, full-width
// bracket.
inline constexpr std::array<std::string_view, 4> stops{".", "!", "?", "\xE2\x80\xA6"};
inline constexpr std::array<std::string_view, 3> wide_stops{"\xE3\x80\x82", "\xEF\xBC\x81",
                                                            "\xEF\xBC\x9F"};
inline constexpr std::array<std::string_view, 10> closing{"\"",
                                                          "'",
                                                          ")",
                                                          "]",
                                                          "\xE2\x80\x9D",
                                                          "\xE2\x80\x99",
                                                          "\xC2\xBB",
                                                          "\xE3\x80\x8D",
                                                          "\xE3\x80\x8F",
                                                          "\xEF\xBC\x89"};

/// A passage that grows, and where it may be ended.
class Growing {
 public:
  explicit Growing(const PassageOptions& options) : options_(options) {}

  [[nodiscard]] std::size_t characters() const noexcept { return characters_; }

  void add_space(bool ends_line) {
    (ends_line ? line_ : space_) = {text_.size(), characters_};
    text_ += ' ';
    ++characters_;
  }

  void add(std::string_view character) {
    text_ += character;
    if (++characters_ <= std::max(options_.longest, std::size_t{1})) return;
    const Break last = std::max(line_, space_);
    if (line_.characters > options_.joined) {
      end_at(line_, 1);
    } else if (last.characters > 0) {
      end_at(last, 1);
    } else {
      end_at({text_.size() - character.size(), characters_ - 1}, 0);
    }
  }

  /// Ends the passage where there is one.
  void end() {
    if (characters_ > 0) end_at({text_.size(), characters_}, 0);
  }

  [[nodiscard]] std::vector<std::string> take() && { return std::move(passages_); }

 private:
  struct Break {
    std::size_t bytes = 0, characters = 0;  // before it
    friend auto operator<=>(const Break&, const Break&) = default;
  };

  /// The next passage goes on behind the break and what is skipped there.
  void end_at(Break at, std::size_t skipped) {
    passages_.push_back(text_.substr(0, at.bytes));
    text_.erase(0, at.bytes + skipped);
    characters_ -= at.characters + skipped;
    for (Break* each : {&line_, &space_}) {
      if (each->bytes <= at.bytes) {
        *each = {};
      } else {
        *each = {each->bytes - at.bytes - skipped, each->characters - at.characters - skipped};
      }
    }
  }

  PassageOptions options_;
  std::vector<std::string> passages_;
  std::string text_;
  std::size_t characters_ = 0;
  Break line_, space_;  // the last ones, where lines end and elsewhere
};

}  // namespace passages_detail

/// The passages of a text in UTF-8, in order; all of it but white space is in exactly one of them.
/// White space becomes single spaces. A sentence ends with ". ", "! " or "? ", with one of the
/// full-width stops of Chinese and Japanese, closing quotes and brackets included, and at an empty
/// line; what is too long goes on in the next passage, if possible from a line on, or else from a
/// word on.
[[nodiscard]] inline std::vector<std::string> split_passages(std::string_view text,
                                                             const PassageOptions& options = {}) {
  using namespace passages_detail;
  const auto is_one_of = [](const auto& list, std::string_view character) {
    return std::ranges::find(list, character) != list.end();
  };
  Growing passage(options);
  bool stopped = false, stopped_wide = false, space = false;
  std::size_t lines = 0;  // that end within this white space
  while (!text.empty()) {
    const std::string_view character = first_character(text);
    text.remove_prefix(character.size());
    if (is_space(character.front())) {
      space = true;
      lines += character == "\n" ? 1 : 0;
      continue;
    }
    const bool closes = is_one_of(closing, character);
    const bool stops_wide = is_one_of(wide_stops, character);
    const bool sentence_ends =
        space ? stopped || stopped_wide || lines > 1 : stopped_wide && !closes && !stops_wide;
    if (sentence_ends && passage.characters() > options.joined) {
      passage.end();
    } else if (space && passage.characters() > 0) {
      passage.add_space(lines > 0);
    }
    passage.add(character);
    stopped = is_one_of(stops, character) || (stopped && closes && !space);
    stopped_wide = stops_wide || (stopped_wide && closes && !space);
    space = false;
    lines = 0;
  }
  passage.end();
  return std::move(passage).take();
}

/// The passages of a text in UTF-8 that recall is compared on. White space becomes single spaces; a
/// sentence ends with ". ". What is beyond the longest length is dropped, and what is left at the
/// end, unless it is long enough.
[[nodiscard]] inline std::vector<std::string> cut_passages(std::string_view text,
                                                           const PassageOptions& options = {}) {
  std::vector<std::string> passages;
  std::string passage;
  std::size_t characters = 0;
  std::size_t end = 0;  // of the bytes within the longest length
  bool space = false, after_stop = false;
  const auto add_space = [&] {
    passage += ' ';
    if (++characters <= options.longest) end = passage.size();
  };
  const auto close_sentence = [&] {
    if (characters <= options.joined) return;
    passages.push_back(passage.substr(0, end));
    passage.clear();
    characters = end = 0;
  };
  for (const char c : text) {
    if (passages_detail::is_space(c)) {
      space = true;
      continue;
    }
    if (space && characters > 0) add_space();
    if (space && after_stop) close_sentence();
    space = false;
    after_stop = c == '.';
    passage += c;
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) ++characters;
    if (characters <= options.longest) end = passage.size();
  }
  close_sentence();
  return passages;
}

}  // namespace nibble
