// Every way in which a tokenizer.json may be wrong ends in an Error that names the place.
#include <nibble/text/tokenizer.hpp>

#include <functional>
#include <string>

#include "small_tokenizer.hpp"
#include "support/catch.hpp"
#include "support/fixtures.hpp"

using namespace nibble;
using namespace nibble::test;
using Catch::Matchers::ContainsSubstring;
using nlohmann::json;

namespace {

/// Expects `parse` to refuse a good tokenizer after `change`, with a message that has `words`.
void refuses(const std::function<void(json&)>& change, const std::string& words) {
  json root = small_tokenizer({{"a", "b"}});
  change(root);
  INFO(words);
  try {
    make_tokenizer(root);
  } catch (const Error& error) {
    const std::string message = error.what();
    CHECK(message.starts_with("test.json: "));
    CHECK_THAT(message, ContainsSubstring(words));
    CHECK(message.find('\n') == std::string::npos);
    return;
  }
  FAIL("accepted");
}

}  // namespace

TEST_CASE("malformed JSON") {
  for (const std::string text : {"", "{", "[]", "nonsense", "{\"version\": \"1.0\",}", "\xff"}) {
    CHECK_THROWS_AS(Tokenizer::parse(text, "test.json"), Error);
  }
  CHECK_THROWS_WITH(Tokenizer::parse("{\"model\": ]", "test.json"), ContainsSubstring("byte 11"));
  CHECK_THROWS_WITH(Tokenizer::parse(std::string(1'000'000, '['), "test.json"),
                    ContainsSubstring("nested deeper"));
  CHECK_THROWS_WITH(Tokenizer::load("/no/such/tokenizer.json"),
                    ContainsSubstring("/no/such/tokenizer.json"));
}

TEST_CASE("missing and mistyped fields") {
  refuses([](json& root) { root.erase("model"); }, "'model': missing");
  refuses([](json& root) { root["model"].erase("vocab"); }, "'vocab': missing");
  refuses([](json& root) { root["model"].erase("merges"); }, "'merges': missing");
  refuses([](json& root) { root["model"]["vocab"] = json::array(); }, "expected an object");
  refuses([](json& root) { root["model"]["merges"] = json::object(); }, "expected an array");
  refuses([](json& root) { root["model"] = 3; }, "expected an object");
  refuses([](json& root) { root["version"] = "2.0"; }, "version \"2.0\"");
  refuses([](json& root) { root["version"] = 1; }, "'version'");
  refuses([](json& root) { root["pre_tokenizer"] = nullptr; }, "pre_tokenizer: expected ByteLevel");
  refuses([](json& root) { root["pre_tokenizer"].erase("type"); }, "'type': missing");
  refuses([](json& root) { root["decoder"] = nullptr; }, "'decoder': missing");
}

TEST_CASE("unsupported components are refused by name") {
  refuses([](json& root) { root["model"]["type"] = "Unigram"; }, "\"Unigram\" is not supported");
  refuses([](json& root) { root["decoder"]["type"] = "Metaspace"; }, "\"Metaspace\"");
  refuses(
      [](json& root) {
        root["decoder"] = {{"type", "Sequence"},
                           {"decoders", {{{"type", "ByteLevel"}}, {{"type", "Fuse"}}}}};
      },
      "decoder: type \"Sequence\"");
  refuses([](json& root) { root["normalizer"] = {{"type", "Lowercase"}}; }, "\"Lowercase\"");
  refuses([](json& root) { root["model"]["dropout"] = 0.1; }, "'dropout'");
  refuses([](json& root) { root["model"]["byte_fallback"] = true; }, "'byte_fallback'");
  refuses([](json& root) { root["model"]["fuse_unk"] = true; }, "'fuse_unk'");
  refuses([](json& root) { root["model"]["continuing_subword_prefix"] = "##"; },
          "'continuing_subword_prefix'");
  refuses([](json& root) { root["model"]["end_of_word_suffix"] = "</w>"; }, "'end_of_word_suffix'");
  refuses([](json& root) { root["model"]["unk_token"] = "<unk>"; }, "\"<unk>\"");
}

TEST_CASE("what older files write for unset options is accepted") {
  json root = small_tokenizer();
  root["decoder"] = {{"type", "Sequence"}, {"decoders", json::array({{{"type", "ByteLevel"}}})}};
  root["model"].update({{"dropout", nullptr},
                        {"continuing_subword_prefix", ""},
                        {"end_of_word_suffix", ""},
                        {"fuse_unk", false},
                        {"unk_token", nullptr}});
  root["model"].erase("type");
  CHECK(make_tokenizer(root).encode("a").size() == 1);
}

TEST_CASE("an id far beyond the number of tokens is refused, however long the file") {
  json root = small_tokenizer();
  root["model"]["vocab"]["xyz"] = 70'000;
  const std::string text = root.dump() + std::string(100'000, ' ');
  CHECK_THROWS_WITH(Tokenizer::parse(text, "t"),
                    Catch::Matchers::ContainsSubstring("id 70000 is out of proportion"));
}

TEST_CASE("wrong ids") {
  const auto with_id = [](const json& id) {
    return [id](json& root) { root["model"]["vocab"]["xyz"] = id; };
  };
  refuses(with_id(-1), "found -1");
  refuses(with_id(1.5), "found 1.5");
  refuses(with_id("7"), "token \"xyz\"");
  refuses(with_id(nullptr), "found null");
  refuses(with_id(65), "id 65 is given twice");
  refuses(with_id(1'000'000), "found 1000000");  // a file this short names no such id
  refuses(with_id(4'294'967'297), "found 4294967297");
  refuses(with_id(std::uint64_t{0xffffffffffffffff}), "found 18446744073709551615");
}

TEST_CASE("wrong merges") {
  const auto with_merge = [](const json& merge) {
    return [merge](json& root) { root["model"]["merges"].push_back(merge); };
  };
  refuses(with_merge({"a", "zz"}), "merge 1: \"zz\" is not in the vocabulary");
  refuses(with_merge({"a", "c"}), "\"ac\" is not in the vocabulary");
  refuses(with_merge("ab"), "expected two tokens");
  refuses(with_merge("a b c"), "expected two tokens");
  refuses(with_merge(json::array({"a"})), "expected two tokens");
  refuses(with_merge({"a", 1}), "expected two tokens");
  refuses(with_merge(5), "expected two tokens");
}

TEST_CASE("text that is not UTF-8 is refused at its byte") {
  const auto tokenizer = make_tokenizer(small_tokenizer());
  CHECK_THROWS_WITH(tokenizer.encode("abc\xff"), ContainsSubstring("byte 3"));
  CHECK_THROWS_WITH(tokenizer.encode_plain("\xed\xa0\x80"), ContainsSubstring("byte 0"));
}
