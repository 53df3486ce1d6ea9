#include <nibble/text/added_tokens.hpp>

#include <string>
#include <vector>

#include "small_tokenizer.hpp"
#include "support/catch.hpp"

using namespace nibble;
using namespace nibble::test;
using Ids = std::vector<TokenId>;

namespace {

Tokenizer with(const nlohmann::json& tokens, const nlohmann::json& normalizer = nullptr) {
  nlohmann::json root = small_tokenizer();
  root["added_tokens"] = tokens;
  root["normalizer"] = normalizer;
  return make_tokenizer(root);
}

}  // namespace

TEST_CASE("the leftmost added token wins, and of those that start together the longest") {
  const auto tokenizer =
      with(nlohmann::json::array({added_token(300, "ab"), added_token(301, "abc"),
                                  added_token(302, "bcd"), added_token(303, "<|x|>")}));
  CHECK(tokenizer.encode("abcd") == Ids{301, 'd'});
  CHECK(tokenizer.encode("abd") == Ids{300, 'd'});
  CHECK(tokenizer.encode("zbcd") == Ids{'z', 302});
  CHECK(tokenizer.encode("ab") == Ids{300});
  CHECK(tokenizer.encode("a<|x|><|x|>") == Ids{'a', 303, 303});
  CHECK(tokenizer.encode("<|x|") == Ids{'<', '|', 'x', '|'});
}

TEST_CASE("many added tokens with shared beginnings are told apart") {
  nlohmann::json tokens;
  for (int i = 0; i < 1000; ++i)
    tokens.push_back(added_token(300 + i, "<" + std::to_string(i) + ">"));
  std::string marks = "#";
  for (int i = 0; i < 100; ++i) tokens.push_back(added_token(2000 + i, marks += '#'));
  const auto tokenizer = with(tokens);
  for (const int i : {0, 1, 10, 99, 100, 512, 999}) {
    CHECK(tokenizer.encode("<" + std::to_string(i) + ">") == Ids{300 + i});
  }
  CHECK(tokenizer.encode("<1000>") == Ids{'<', '1', '0', '0', '0', '>'});
  CHECK(tokenizer.encode(std::string(150, '#')) == Ids{2099, 2047});
}

TEST_CASE("lstrip and rstrip take the white space along") {
  const auto tokenizer = with(nlohmann::json::array({added_token(300, "<l>", {{"lstrip", true}}),
                                                     added_token(301, "<r>", {{"rstrip", true}}),
                                                     added_token(302, "<n>")}));
  CHECK(tokenizer.encode("a \n<l> b") == Ids{'a', 300, ' ', 'b'});
  CHECK(tokenizer.encode("a <r>\xc2\xa0\t b") == Ids{'a', ' ', 301, 'b'});
  CHECK(tokenizer.encode("<r>  <l>") == Ids{301, 300});
  CHECK(tokenizer.encode("<n> <l>") == Ids{302, 300});
  CHECK(tokenizer.encode("  <l>") == Ids{300});
  CHECK(tokenizer.encode("<r>  ") == Ids{301});
}

TEST_CASE("a single word stands alone") {
  const auto tokenizer =
      with(nlohmann::json::array({added_token(300, "no", {{"single_word", true}})}));
  CHECK(tokenizer.encode("no") == Ids{300});
  CHECK(tokenizer.encode("(no)") == Ids{'(', 300, ')'});
  CHECK(tokenizer.encode("nor") == Ids{'n', 'o', 'r'});
  CHECK(tokenizer.encode("_no") == Ids{'_', 'n', 'o'});
  CHECK(tokenizer.encode("no\xcc\x81") == Ids{'n', 'o', 0xcc, 0x81});  // a mark goes on
  CHECK(tokenizer.encode("\xe2\x80\x94no") == Ids{0xe2, 0x80, 0x94, 300});
}

TEST_CASE("normalized tokens are found in the normalized text, the others before") {
  const std::string composed = "\xc3\xa9", decomposed = "e\xcc\x81";
  const auto tokenizer =
      with(nlohmann::json::array({added_token(300, decomposed + "1", {{"normalized", true}}),
                                  added_token(301, decomposed + "2")}),
           {{"type", "NFC"}});
  CHECK(tokenizer.encode(composed + "1") == Ids{300});
  CHECK(tokenizer.encode(decomposed + "1") == Ids{300});
  CHECK(tokenizer.encode(decomposed + "2") == Ids{301});
  CHECK(tokenizer.encode(composed + "2") == Ids{0xc3, 0xa9, '2'});
}

TEST_CASE("plain text has no special tokens, but other added ones") {
  const auto tokenizer = with(nlohmann::json::array(
      {added_token(300, "<s>", {{"special", true}}), added_token(301, "<t>")}));
  CHECK(tokenizer.encode("<s><t>") == Ids{300, 301});
  CHECK(tokenizer.encode_plain("<s><t>") == Ids{'<', 's', '>', 301});
  CHECK(tokenizer.is_special(300));
  CHECK_FALSE(tokenizer.is_special(301));
}

TEST_CASE("contradicting added tokens are refused") {
  const auto refuses = [](const nlohmann::json& tokens, const std::string& name) {
    CHECK_THROWS_WITH(with(tokens), Catch::Matchers::ContainsSubstring(name));
  };
  refuses(nlohmann::json::array({added_token(300, "x"), added_token(301, "x")}), "contradicts");
  refuses(nlohmann::json::array({added_token(300, "xy"), added_token(301, "xy")}), "given twice");
  refuses(nlohmann::json::array({added_token(300, "xy"), added_token(300, "yz")}),
          "id 300 is given twice");
  refuses(nlohmann::json::array({added_token(65, "xy")}), "contradicts the vocabulary");
  refuses(nlohmann::json::array({added_token(-1, "xy")}), "found -1");
  refuses(nlohmann::json::array({added_token(2'000'000'000, "xy")}), "found 2000000000");
  refuses(nlohmann::json::array({added_token(300, "")}), "0 bytes");
  refuses(nlohmann::json::array({added_token(300, std::string(5000, 'x'))}), "5000 bytes");
  refuses(nlohmann::json::array({added_token(300, "xy", {{"special", 1}})}), "'special'");
  refuses(nlohmann::json::array({{{"id", 300}}}), "'content'");
  refuses(1, "expected an array");
}
