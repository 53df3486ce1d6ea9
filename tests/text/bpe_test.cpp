#include <nibble/text/bpe.hpp>

#include <chrono>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "small_tokenizer.hpp"
#include "support/catch.hpp"

using namespace nibble;
using namespace nibble::test;
using Pairs = std::vector<std::pair<std::string, std::string>>;
using Strings = std::vector<std::string>;

namespace {

/// The definition, word for word: join the leftmost pair of least rank until there is none.
Strings naive(const Pairs& merges, const std::string& word) {
  std::map<std::pair<std::string, std::string>, std::size_t> rank;
  for (std::size_t i = 0; i < merges.size(); ++i) rank[merges[i]] = i;
  Strings parts;
  for (const char c : word) parts.emplace_back(1, c);
  for (;;) {
    std::optional<std::pair<std::size_t, std::size_t>> best;  // rank, position
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto place = rank.find({parts[i], parts[i + 1]});
      if (place != rank.end() && (!best || place->second < best->first)) {
        best = {place->second, i};
      }
    }
    if (!best) return parts;
    parts[best->second] += parts[best->second + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best->second) + 1);
  }
}

}  // namespace

TEST_CASE("merges go by rank, not by length or position") {
  const auto tokenizer = make_tokenizer(small_tokenizer({{"b", "c"}, {"a", "b"}, {"bc", "d"}}));
  CHECK(pieces(tokenizer, "abcd") == Strings{"a", "bcd"});
  CHECK(pieces(tokenizer, "abd") == Strings{"ab", "d"});
  CHECK(pieces(tokenizer, "a") == Strings{"a"});
}

TEST_CASE("of equal pairs the leftmost joins first") {
  const auto tokenizer = make_tokenizer(small_tokenizer({{"a", "a"}, {"aa", "aa"}}));
  CHECK(pieces(tokenizer, "aaa") == Strings{"aa", "a"});
  CHECK(pieces(tokenizer, "aaaaaaa") == Strings{"aaaa", "aa", "a"});
}

TEST_CASE("random merges agree with the definition") {
  std::mt19937 random(7);
  for (int round = 0; round < 30; ++round) {
    Strings known = {"a", "b", "c", "\xc3", "\xa9"};
    Pairs merges;
    const std::size_t count = random() % 40;
    while (merges.size() < count) {
      const std::string left = known[random() % known.size()],
                        right = known[random() % known.size()];
      const std::string joined = left + right;
      if (joined.size() > 12 || std::find(known.begin(), known.end(), joined) != known.end()) {
        continue;
      }
      known.push_back(joined);
      merges.emplace_back(left, right);
    }
    const auto tokenizer = make_tokenizer(small_tokenizer(merges));
    for (int i = 0; i < 30; ++i) {
      std::string word;
      for (std::size_t n = random() % 60; n > 0; --n) {
        const auto pick = random() % 4;
        word += pick == 3 ? "\xc3\xa9" : std::string(1, "abc"[pick]);
      }
      CHECK(pieces(tokenizer, word) == naive(merges, word));
    }
  }
}

TEST_CASE("ignore_merges takes a word of the vocabulary whole") {
  auto json = small_tokenizer({{"a", "b"}, {"ab", "c"}});
  json["model"]["vocab"][byte_level("xyz ")] = 258;  // no merge leads here
  json["model"]["ignore_merges"] = true;
  CHECK(pieces(make_tokenizer(json), "xyz ") == Strings{"xyz "});
  CHECK(pieces(make_tokenizer(json), "xyz") == Strings{"x", "y", "z"});
  CHECK(pieces(make_tokenizer(json), "abc") == Strings{"abc"});
  json["model"]["ignore_merges"] = false;
  CHECK(pieces(make_tokenizer(json), "xyz ") == Strings{"x", "y", "z", " "});
}

TEST_CASE("merges are written as pairs or as lines") {
  auto json = small_tokenizer({{"a", " "}, {"a ", "b"}});
  json["model"]["merges"] = {"#version: 0.2", "a \u0120", "a\u0120 b"};
  CHECK(pieces(make_tokenizer(json), "a b") == Strings{"a b"});
}

TEST_CASE("a byte without a token is unknown, or an error") {
  auto json = small_tokenizer();
  auto& vocab = json["model"]["vocab"];
  vocab.erase("q");
  CHECK_THROWS_WITH(make_tokenizer(json).encode("aqb"),
                    Catch::Matchers::ContainsSubstring("byte 113"));
  vocab["<unk>"] = int{'q'};
  json["model"]["unk_token"] = "<unk>";
  CHECK(make_tokenizer(json).encode("aqqb") == std::vector<TokenId>{'a', 'q', 'q', 'b'});
  CHECK(pieces(make_tokenizer(json), "q") == Strings{"<unk>"});
}

TEST_CASE("a long word takes n log n") {
  Pairs merges;
  std::string left = "a";
  for (int i = 0; i < 16; ++i) {
    merges.emplace_back(left, left);
    left += left;
  }
  const auto tokenizer = make_tokenizer(small_tokenizer(merges));
  const auto start = std::chrono::steady_clock::now();
  CHECK(tokenizer.encode(std::string(1 << 20, 'a')).size() == 16);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}
