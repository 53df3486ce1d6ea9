// Translates the regular expressions of tokenizer.json, which Oniguruma defines, to PCRE2's
// dialect.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>

namespace nibble::text {

namespace detail {

// Oniguruma's sets, spelled out because PCRE2's \s has U+180E too and its \w lacks marks, among
// others. Each starts and ends with a property, so that no neighbouring hyphen makes a range of it.
inline constexpr std::string_view white_space_set = "\\p{Z}\\x{09}-\\x{0d}\\x{85}\\p{Z}";
inline constexpr std::string_view not_white_space_set =
    "\\p{Lu}\\x{00}-\\x{08}\\x{0e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}"
    "\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}"
    "\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}\\p{Lu}";
inline constexpr std::string_view word_set =
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}"
    "\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}\\p{Pc}";
inline constexpr std::string_view word_set_outside =  // six superscripts and fractions as well
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}"
    "\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";
inline constexpr std::string_view hexadecimal_set = "\\p{Cs}0-9a-fA-F\\p{Cs}";

/// General categories: the same names and members in both engines. Other names are scripts.
inline constexpr std::array<std::string_view, 38> general_categories = {
    "Any", "C",  "Cc", "Cf", "Cn", "Co", "Cs", "L",  "Ll", "Lm", "Lo", "Lt", "Lu",
    "M",   "Mc", "Me", "Mn", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Pe", "Pf",
    "Pi",  "Po", "Ps", "S",  "Sc", "Sk", "Sm", "So", "Z",  "Zl", "Zp", "Zs"};

[[nodiscard]] constexpr bool is_digit(char c) noexcept {
  return c >= '0' && c <= '9';
}
[[nodiscard]] constexpr bool is_hexadecimal(char c) noexcept {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
[[nodiscard]] constexpr bool is_ascii_letter(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// One pass over a pattern; every construct either means the same to both engines, or is rewritten,
/// or is refused.
class RegexTranslator {
 public:
  RegexTranslator(std::string_view pattern, std::string_view where, bool scripts_need_prefix)
      : pattern_(pattern), where_(where), scripts_need_prefix_(scripts_need_prefix) {}

  [[nodiscard]] std::string translate() {
    while (at_ < pattern_.size()) {
      switch (pattern_[at_]) {
        case '\\':
          escape(/*in_class=*/false);
          break;
        case '[':
          character_class();
          break;
        case '(':
          group();
          break;
        case '{':
          interval();
          break;
        default:
          copy(1);
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail(where_, ": ", what, " at byte ", at_, " of the regular expression ", in_quotes(pattern_),
         " is not supported");
  }

  [[nodiscard]] bool starts(std::string_view text) const {
    return pattern_.substr(at_).starts_with(text);
  }

  void copy(std::size_t count) {
    out_ += pattern_.substr(at_, count);
    at_ += count;
  }

  void replace(std::size_t count, std::string_view text) {
    out_ += text;
    at_ += count;
  }

  /// An escape that stands for a set of characters, outside or inside brackets.
  void set(std::string_view members, bool negated, bool in_class) {
    if (in_class) return replace(2, members);
    out_ += negated ? "[^" : "[";
    replace(2, members);
    out_ += ']';
  }

  void escape(bool in_class) {
    if (at_ + 1 == pattern_.size()) refuse("a trailing backslash");
    const char kind = pattern_[at_ + 1];
    switch (kind) {
      case 's':
        return set(white_space_set, false, in_class);
      case 'S':
        return in_class ? replace(2, not_white_space_set) : set(white_space_set, true, false);
      case 'w':
        return set(in_class ? word_set : word_set_outside, false, in_class);
      case 'h':
        return set(hexadecimal_set, false, in_class);
      case 'd':
      case 'D':
        return copy(2);
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'a':
      case 'e':
        return copy(2);
      case 'v':
        return replace(2, "\\x{0b}");
      case 'p':
      case 'P':
        return property();
      case 'x':
        return hexadecimal_escape();
      case 'u':
        return unicode_escape();
      default:
        break;
    }
    if (!in_class) {
      switch (kind) {
        case 'W':
          return set(word_set_outside, true, false);
        case 'H':
          return set(hexadecimal_set, true, false);
        case 'A':
        case 'z':
        case 'Z':
          return copy(2);
        case 'b':
          return word_boundary(false);
        case 'B':
          return word_boundary(true);
        default:
          break;
      }
    }
    const auto byte = static_cast<unsigned char>(kind);
    if (is_ascii_letter(kind) || is_digit(kind) || byte < 0x20 || byte >= 0x7f) {
      refuse(concat("the escape \\", printable({&kind, 1}), in_class ? " within brackets" : ""));
    }
    copy(2);  // punctuation: itself
  }

  void word_boundary(bool negated) {
    const std::string word = concat('[', word_set_outside, ']');
    const std::string_view after = negated ? "(?=" : "(?!", before = negated ? "(?!" : "(?=";
    replace(2, concat("(?:(?<=", word, ')', after, word, ")|(?<!", word, ')', before, word, "))"));
  }

  /// \p{Name}, \P{Name} or \p{^Name}; a script is asked for as such, not as script extensions.
  void property() {
    const std::size_t close = pattern_.find('}', at_);
    if (!pattern_.substr(at_ + 2).starts_with('{') || close == std::string_view::npos) {
      refuse("\\p without a name in braces");
    }
    std::string_view name = pattern_.substr(at_ + 3, close - at_ - 3);
    const bool inverted = name.starts_with('^');
    if (inverted) name.remove_prefix(1);
    if (name.empty() || !std::all_of(name.begin(), name.end(),
                                     [](char c) { return is_ascii_letter(c) || c == '_'; })) {
      refuse("the property " + in_quotes(name));
    }
    out_ += pattern_.substr(at_, 3);
    if (inverted) out_ += '^';
    const bool category = std::find(general_categories.begin(), general_categories.end(), name) !=
                          general_categories.end();
    if (!category && scripts_need_prefix_) out_ += "sc:";
    out_ += name;
    out_ += '}';
    at_ = close + 1;
  }

  /// \x{H...} or \xHH. Above 7f the latter is a byte to one engine and a code point to the other.
  void hexadecimal_escape() {
    const std::string_view rest = pattern_.substr(at_ + 2);
    if (rest.starts_with('{')) {
      const std::size_t close = rest.find('}');
      if (close == std::string_view::npos || close < 2 || close > 9 ||
          !std::all_of(rest.begin() + 1, rest.begin() + static_cast<std::ptrdiff_t>(close),
                       is_hexadecimal)) {
        refuse("\\x{ without a hexadecimal number");
      }
      return copy(close + 3);
    }
    if (rest.size() < 2 || !is_hexadecimal(rest[0]) || !is_hexadecimal(rest[1]) || rest[0] > '7') {
      refuse("\\x without two hexadecimal digits below 80");
    }
    copy(4);
  }

  void unicode_escape() {
    const std::string_view digits = pattern_.substr(at_ + 2, 4);
    if (digits.size() < 4 || !std::all_of(digits.begin(), digits.end(), is_hexadecimal)) {
      refuse("\\u without four hexadecimal digits");
    }
    replace(6, concat("\\x{", digits, '}'));
  }

  void character_class() {
    copy(1);
    if (starts("^")) copy(1);
    if (starts("]")) refuse("']' as the first member of brackets");
    while (!starts("]")) {
      if (at_ == pattern_.size()) refuse("an unclosed '['");
      if (starts("[")) refuse("'[' within brackets");
      if (starts("&&")) refuse("'&&' within brackets");
      if (starts("\\")) {
        escape(/*in_class=*/true);
      } else {
        copy(1);
      }
    }
    copy(1);
  }

  void group() {
    if (starts("(*")) refuse("'(*'");
    if (!starts("(?")) return copy(1);
    if (starts("(?i)") && at_ == 0) return copy(4);  // later ones differ in how far they reach
    for (const std::string_view kind :
         {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?-i:"}) {
      if (starts(kind)) return copy(kind.size());
    }
    refuse("a group of the kind " + in_quotes(pattern_.substr(at_, 4)));
  }

  /// {n}, {n,}, {,m} or {n,m}, else a brace that stands for itself.
  void interval() {
    std::size_t end = at_ + 1;
    const auto digits = [&] {
      const std::size_t first = end;
      while (end < pattern_.size() && is_digit(pattern_[end])) ++end;
      return end > first;
    };
    const bool minimum = digits();
    const bool comma = end < pattern_.size() && pattern_[end] == ',';
    if (comma) ++end;
    const bool maximum = comma && digits();
    if (end == pattern_.size() || pattern_[end] != '}' || (!minimum && !maximum)) {
      return replace(1, "\\{");
    }
    const std::string_view after = pattern_.substr(end + 1);
    // One engine repeats the interval, the other makes it possessive; {n}? is optional or lazy.
    if (after.starts_with('+')) refuse("'+' after an interval");
    if (after.starts_with('?') && !comma) refuse("'?' after an exact interval");
    if (!minimum) replace(1, "{0");
    copy(end + 1 - at_);
  }

  std::string_view pattern_;
  std::string_view where_;
  bool scripts_need_prefix_;
  std::size_t at_ = 0;
  std::string out_;
};

}  // namespace detail

/// `pattern` (valid UTF-8; the syntax of Oniguruma, which the `tokenizers` library uses) for PCRE2
/// with UTF, UCP, MULTILINE and a newline of LF: `$` and `^` see lines, \s is White_Space, \w and
/// \b include marks, \h is a hexadecimal digit, \p{Han} is the script. `scripts_need_prefix`: PCRE2
/// 10.40 and later mean script extensions where no "sc:" is given. What the two engines read
/// differently and no rewriting settles (set operations, inline options, named groups,
/// back-references, verbs, ...) is an `Error` that starts with `where` and names the construct.
/// One difference is left: under (?i), ß and ligatures match single characters only.
[[nodiscard]] inline std::string translate_regex(std::string_view pattern, std::string_view where,
                                                 bool scripts_need_prefix) {
  return detail::RegexTranslator(pattern, where, scripts_need_prefix).translate();
}

}  // namespace nibble::text
