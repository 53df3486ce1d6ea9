#include "nibble/search/passages.hpp"

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "support/catch.hpp"
#include "support/random.hpp"

using namespace nibble;

TEST_CASE("passages are whole sentences of some length", "[passages]") {
  const PassageOptions options{.joined = 8, .longest = 14};
  using Passages = std::vector<std::string>;
  CHECK(cut_passages("One.\nTwo two.  Three three three three.", options) ==
        Passages{"One. Two two. ", "Three three th"});
  CHECK(cut_passages("No 3.14 or e.g.this is one. ", options) == Passages{"No 3.14 or e.g"});
  CHECK(cut_passages("\t A rest. of it", options) == Passages{"A rest. of it"});
  CHECK(cut_passages("\t A rest.\n", options).empty());
  CHECK(cut_passages("Short.", options).empty());
  CHECK(cut_passages("", options).empty());
  // Lengths are in characters, which are not cut through.
  CHECK(cut_passages("\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9. rest", options) ==
        Passages{"\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9. "});
}

TEST_CASE("split passages hold all of a text", "[passages]") {
  const PassageOptions options{.joined = 8, .longest = 14};
  using Passages = std::vector<std::string>;
  CHECK(split_passages("One.\nTwo two.  Three three! Four? (Four four.) Five", options) ==
        Passages{"One. Two two.", "Three three!", "Four? (Four", "four.) Five"});
  CHECK(split_passages(" Short. ", options) == Passages{"Short."});
  CHECK(split_passages("No 3.14 or e.g.this is", options) == Passages{"No 3.14 or", "e.g.this is"});
  CHECK(split_passages("an item here\nanother one", options) ==
        Passages{"an item here", "another one"});
  CHECK(split_passages("a heading\n\nand text", options) == Passages{"a heading", "and text"});
  CHECK(split_passages("said \"so.\" And", options) == Passages{"said \"so.\"", "And"});
  CHECK(split_passages("一二三四五六七八。」九十", options) ==
        Passages{"一二三四五六七八。」", "九十"});
  CHECK(split_passages("ééééééééééééééééé", options) == Passages{"éééééééééééééé", "ééé"});
  CHECK(split_passages(" \n\t", options).empty());
  CHECK(split_passages("", options).empty());

  test::Random random(74);
  constexpr std::string_view alphabet[] = {"a", "é", " ", "\n", ". ", "。", "”", "!", "word "};
  for (int round = 0; round < 200; ++round) {
    std::string text, expected, found;
    for (int i = 0; i < 200; ++i) text += alphabet[test::random_integer<std::size_t>(random, 0, 8)];
    const auto add = [](std::string& to, std::string_view from) {
      std::ranges::copy_if(from, std::back_inserter(to),
                           [](char c) { return c != ' ' && c != '\n'; });
    };
    add(expected, text);
    for (const std::string& passage : split_passages(text, options)) {
      add(found, passage);
      CHECK(std::ranges::count_if(passage, [](char c) { return (c & 0xC0) != 0x80; }) <= 14);
      CHECK_FALSE(passage.front() == ' ');
      CHECK_FALSE(passage.back() == ' ');
    }
    CHECK(found == expected);
  }
}
