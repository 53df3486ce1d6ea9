#include <nibble/text/regex.hpp>

#include <chrono>
#include <string>
#include <vector>

#include <nibble/text/pre_tokenizer.hpp>
#include <nibble/text/unicode.hpp>

#include "support/catch.hpp"

using namespace nibble::text;
using Catch::Matchers::ContainsSubstring;
using Strings = std::vector<std::string>;

namespace {

Strings matches(std::string_view pattern, std::string_view text,
                Regex::Syntax syntax = Regex::Syntax::Pattern) {
  const Regex regex(pattern, syntax, "test");
  RegexScratch scratch(text.size());
  Strings found;
  regex.for_each_match(text, scratch, [&](std::size_t begin, std::size_t end) {
    found.emplace_back(text.substr(begin, end - begin));
  });
  return found;
}

bool is_match(const Regex& regex, char32_t code) {
  std::string text;
  append_utf8(text, code);
  RegexScratch scratch(text.size());
  bool found = false;
  regex.for_each_match(text, scratch,
                       [&](std::size_t begin, std::size_t end) { found |= begin < end; });
  return found;
}

}  // namespace

TEST_CASE("white space is Unicode's White_Space, and nothing else") {
  const Regex space("\\s", Regex::Syntax::Pattern, "test");
  const Regex other("\\S", Regex::Syntax::Pattern, "test");
  const Regex other_inside("[\\S]", Regex::Syntax::Pattern, "test");
  for (char32_t code = 0; code < 0x3100; ++code) {
    const bool expected = is_white_space(code);
    if (is_match(space, code) != expected || is_match(other, code) == expected ||
        is_match(other_inside, code) == expected) {
      FAIL("U+" << std::hex << static_cast<unsigned>(code));
    }
  }
  CHECK(is_match(space, 0x85));          // next line
  CHECK_FALSE(is_match(space, 0x180e));  // Mongolian vowel separator
  CHECK_FALSE(is_match(space, 0x200b));  // zero width space
  CHECK(is_match(other_inside, 0x1f642));
}

TEST_CASE("words have marks, and their boundaries see them") {
  CHECK(matches("\\w+", "e\xcc\x81t\xc3\xa9 x_1") == Strings{"e\xcc\x81t\xc3\xa9", "x_1"});
  CHECK(matches("\\b.", "e\xcc\x81 a") == Strings{"e", " ", "a"});
  CHECK(matches("[^\\w]", "a-b") == Strings{"-"});
}

TEST_CASE("constructs that engines read differently follow Oniguruma") {
  CHECK(matches("\\h+", "12 fF g") == Strings{"12", "fF"});  // hexadecimal digits
  CHECK(matches("a$", "a\na") == Strings{"a", "a"});         // lines
  CHECK(matches("^a", "a\na") == Strings{"a", "a"});
  CHECK(matches("a.", "a\nab") == Strings{"ab"});
  CHECK(matches("a{,2}b", "aaab") == Strings{"aab"});
  CHECK(matches("\\p{Han}", "\xe3\x80\x81\xe5\x8c\x97") == Strings{"\xe5\x8c\x97"});  // script
  CHECK(matches("\\p{^L}+", "a1b") == Strings{"1"});
  CHECK(matches("\\u00e9", "\xc3\xa9") == Strings{"\xc3\xa9"});
  CHECK(matches("\\P{L}?\\p{^M}", "1") == Strings{"1"});
  CHECK(matches("{", "a{b") == Strings{"{"});
  CHECK(matches("[^\\S\\n]+", " \t\n ") == Strings{" \t", " "});
}

TEST_CASE("case is ignored as Unicode folds it") {
  CHECK(matches("(?i:'s|'re)", "'S 'RE '\xc5\xbf") == Strings{"'S", "'RE", "'\xc5\xbf"});
  CHECK(matches("(?i)k", "K\xe2\x84\xaa") == Strings{"K", "\xe2\x84\xaa"});
}

TEST_CASE("empty matches move on by a character, and none follows a match") {
  CHECK(matches("x*", "a\xc3\xa9xx") == Strings{"", "", "xx"});
  CHECK(matches("", "ab") == Strings{"", "", ""});
}

TEST_CASE("a literal is taken as it is") {
  CHECK(matches("a.+(", "a.+(xa.+(", Regex::Syntax::Literal) == Strings{"a.+(", "a.+("});
  CHECK(matches("\\d", "1\\d", Regex::Syntax::Literal) == Strings{"\\d"});
}

TEST_CASE("what would silently mean something else is refused by name") {
  const auto refuses = [](const std::string& pattern, const std::string& name) {
    CHECK_THROWS_WITH(Regex(pattern, Regex::Syntax::Pattern, "file: Split"),
                      ContainsSubstring(name) && ContainsSubstring("file: Split"));
  };
  refuses("[a&&b]", "'&&'");
  refuses("[a[b]]", "'[' within brackets");
  refuses("[[:alpha:]]", "'[' within brackets");
  refuses("[]a]", "']'");
  refuses("[a", "unclosed");
  refuses("a(?i)b|c", "(?i)");
  refuses("(?m:.)", "(?m:");
  refuses("(?<name>a)", "(?<n");
  refuses("(?R)", "(?R)");
  refuses("(*UCP)a", "(*");
  refuses("(a)\\1", "\\1");
  refuses("\\K", "\\K");
  refuses("\\C", "\\C");
  refuses("\\G", "\\G");
  refuses("\\R", "\\R");
  refuses("\\pL", "\\p");
  refuses("\\p{L1}", "L1");
  refuses("\\p{Nonsense}", "Nonsense");
  refuses("[\\W]", "\\W");
  refuses("\\xff", "\\x");
  refuses("a{2}+", "'+'");
  refuses("a{2}?", "'?'");
  refuses("a\\", "backslash");
  refuses("(a", "invalid");
  refuses("a)", "invalid");
  refuses("*", "invalid");
  refuses(std::string(Regex::max_pattern + 1, 'a'), "65537 bytes");
}

TEST_CASE("a match longer than any window is found whole") {
  for (const std::size_t length : {255u, 256u, 257u, 1000u, 100'000u}) {
    std::string word;
    for (std::size_t i = 0; i < length; ++i) word += i % 3 == 0 ? "\xc3\xa9" : "a";
    CHECK(matches(gpt2_pattern, word + " b") == Strings{word, " b"});
    CHECK(matches("(?:a|\xc3\xa9)+(?= b)", word + " b") == Strings{word});
    CHECK(matches("\\s+(?!\\S)|\\s+|x", std::string(length, ' ') + "x") ==
          (length == 1 ? Strings{" ", "x"} : Strings{std::string(length - 1, ' '), " ", "x"}));
  }
}

TEST_CASE("no pattern works for ever") {
  const auto too_much = [](std::string_view pattern, const std::string& text) {
    CHECK_THROWS_WITH(matches(pattern, text),
                      ContainsSubstring("too much work") && ContainsSubstring("test: "));
  };
  const auto start = std::chrono::steady_clock::now();
  too_much("(a+)+b", std::string(100'000, 'a'));  // exponential
  too_much("(?:a|a|a)*b", std::string(100'000, 'a'));
  too_much("a*a*a*a*b", std::string(100'000, 'a'));      // polynomial
  too_much("\\s+$", std::string(1'000'000, ' ') + "x");  // quadratic
  too_much("\\p{L}++9|.", std::string(1'000'000, 'a'));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::minutes(1));
}
