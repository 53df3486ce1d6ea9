#include <nibble/text/encode_first.hpp>
#include <nibble/text/tokenizer.hpp>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "small_tokenizer.hpp"
#include "support/catch.hpp"
#include "support/fixtures.hpp"

using namespace nibble;
using namespace nibble::test;
using nlohmann::json;
using Ids = std::vector<TokenId>;
using Strings = std::vector<std::string>;

namespace {

void check_against(const Tokenizer& tokenizer, const std::filesystem::path& expected) {
  const json cases = read_json_file(expected);
  REQUIRE(!cases.empty());
  for (const auto& [text, ids] : cases.items()) {
    INFO(text);
    CHECK(tokenizer.encode(text) == ids.get<Ids>());
    CHECK(tokenizer.decode(ids.get<Ids>(), false).find(text) != std::string::npos);
  }
}

json step(const char* type, const json& fields = json::object()) {
  json value = {{"type", type}};
  value.update(fields);
  return value;
}

}  // namespace

TEST_CASE("the shipped model's tokenizer gives the reference ids") {
  const auto tokenizer = Tokenizer::load(source_path("examples/models/novella-5m/tokenizer.json"));
  check_against(tokenizer, source_path("tests/data/novella-5m.tokens.json"));
  CHECK(tokenizer.vocab_size() == 4096);
  CHECK(tokenizer.find_token("<|begin_of_text|>") == 0);
  CHECK(tokenizer.find_token("<|end_of_text|>") == 1);
  CHECK(tokenizer.is_special(1));
  CHECK_FALSE(tokenizer.is_special(2));
  CHECK_FALSE(tokenizer.is_special(-1));
  CHECK_FALSE(tokenizer.is_special(4096));
  CHECK(tokenizer.token_bytes(886) == " world");
  CHECK(tokenizer.encode(" world", false) == Ids{886});
  CHECK(tokenizer.decode(Ids{0, 886, 1}) == " world");
  CHECK(tokenizer.decode(Ids{0, 886, 1}, false) == "<|begin_of_text|> world<|end_of_text|>");
}

TEST_CASE("a larger tokenizer gives the reference ids, and a book survives") {
  NIBBLE_REQUIRE_FIXTURES(fixtures);
  const auto tokenizer = Tokenizer::load(fixtures / "models/novella-28m/tokenizer.json");
  check_against(tokenizer, fixtures / "expected/novella-28m.tokens.json");
  const std::string book = read_text_file(fixtures / "text/Stevenson_Treasure_1883.txt");
  CHECK(tokenizer.decode(tokenizer.encode(book)) == book);
}

TEST_CASE("the first tokens of a text are those of the whole") {
  const auto tokenizer = Tokenizer::load(source_path("examples/models/novella-5m/tokenizer.json"));
  const std::string chapter = read_text_file(source_path("examples/texts/treasure_island.txt"));
  std::string text;
  for (int i = 0; i < 6; ++i) text += chapter;
  for (const char* between : {"", "\xc3\xa9"}) {  // with odd places of characters, too
    text.insert(0, between);
    const Ids all = tokenizer.encode(text);
    REQUIRE(all.size() > 40'000);
    for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{777},
                                    std::size_t{20'000}, all.size(), all.size() + 1}) {
      const Ids first = encode_first(tokenizer, text, count);
      REQUIRE(first.size() == std::min(count, all.size()));
      CHECK(std::equal(first.begin(), first.end(), all.begin()));
    }
  }
  // So many bytes to a token that the first part is too short.
  std::string wide;
  for (int i = 0; i < 20'000; ++i) wide += "<|begin_of_text|>";
  CHECK(encode_first(tokenizer, wide, 9'000).size() == 9'000);
  CHECK(encode_first(tokenizer, "", 5) == tokenizer.encode(""));
}

TEST_CASE("any text survives") {
  const auto tokenizer = Tokenizer::load(source_path("examples/models/novella-5m/tokenizer.json"));
  std::string text;
  for (char32_t code = 0; code < 0x30000; code += 7) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    text::append_utf8(text, code);
  }
  CHECK(tokenizer.decode(tokenizer.encode(text)) == text);
  CHECK(tokenizer.encode("").size() == 1);
  CHECK(tokenizer.encode("", false).empty());
}

TEST_CASE("GPT-2's kind") {
  json root = small_tokenizer({{"h", "e"}, {" ", "w"}, {"l", "l"}, {"he", "ll"}});
  root["pre_tokenizer"] = step("ByteLevel", {{"add_prefix_space", false}, {"trim_offsets", true}});
  root["post_processor"] = step("ByteLevel", {{"add_prefix_space", true}, {"trim_offsets", false}});
  CHECK(pieces(make_tokenizer(root), "hello  world") ==
        Strings{"hell", "o", " ", " w", "o", "r", "l", "d"});
  root["pre_tokenizer"]["add_prefix_space"] = true;
  CHECK(pieces(make_tokenizer(root), "world") == Strings{" w", "o", "r", "l", "d"});
  // Merges do not cross the pattern's pieces.
  CHECK(pieces(make_tokenizer(root), "hell's") == Strings{" ", "hell", "'", "s"});
}

TEST_CASE("Qwen 2's kind") {
  json root = small_tokenizer({{"\xc3", "\xa9"}, {"1", "2"}, {"\n", "\n"}});
  root["normalizer"] = {{"type", "NFC"}};
  const char* pattern =
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
      R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
  root["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {step("Split",
             {{"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}}),
        step("ByteLevel",
             {{"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}})}}};
  root["added_tokens"] = json::array({added_token(300, "<|endoftext|>", {{"special", true}}),
                                      added_token(301, "<|im_start|>", {{"special", true}}),
                                      added_token(302, "<tool_call>")});
  const auto tokenizer = make_tokenizer(root);
  CHECK(pieces(tokenizer, "e\xcc\x81") == Strings{"\xc3\xa9"});
  CHECK(pieces(tokenizer, "12") == Strings{"1", "2"});  // digits stand alone
  CHECK(pieces(tokenizer, "a\n\nb") == Strings{"a", "\n\n", "b"});
  CHECK(tokenizer.encode("<|im_start|>u\n<tool_call>") == Ids{301, 'u', '\n', 302});
  CHECK(tokenizer.decode(Ids{301, 'u', 302, 300}) == "u<tool_call>");
}

TEST_CASE("Llama 3's template puts a BOS first, a Sequence nests") {
  json root = small_tokenizer();
  root["added_tokens"] = json::array({added_token(256, "<bos>", {{"special", true}}),
                                      added_token(257, "<eos>", {{"special", true}})});
  const auto piece = [](const char* kind, const char* id) {
    return json{{kind, {{"id", id}, {"type_id", 0}}}};
  };
  const json special = {
      {"<bos>", {{"id", "<bos>"}, {"ids", json::array({256})}, {"tokens", json::array({"<bos>"})}}},
      {"<eos>", {{"id", "<eos>"}, {"ids", {257, 256}}, {"tokens", json::array()}}}};
  const json bos =
      step("TemplateProcessing",
           {{"single", json::array({piece("SpecialToken", "<bos>"), piece("Sequence", "A")})},
            {"special_tokens", special}});
  const json eos =
      step("TemplateProcessing",
           {{"single", json::array({piece("Sequence", "A"), piece("SpecialToken", "<eos>")})},
            {"special_tokens", special}});
  root["post_processor"] = bos;
  CHECK(make_tokenizer(root).encode("a") == Ids{256, 'a'});
  CHECK(make_tokenizer(root).encode("a", false) == Ids{'a'});
  CHECK(make_tokenizer(root).encode_plain("<bos>") == Ids{'<', 'b', 'o', 's', '>'});
  root["post_processor"] =
      step("Sequence", {{"processors", json::array({step("ByteLevel"), bos, eos})}});
  CHECK(make_tokenizer(root).encode("a") == Ids{256, 'a', 257, 256});

  const auto refuses = [&](const json& post_processor, const std::string& name) {
    root["post_processor"] = post_processor;
    CHECK_THROWS_WITH(make_tokenizer(root), Catch::Matchers::ContainsSubstring(name));
  };
  json bad = bos;
  bad["special_tokens"]["<bos>"]["ids"] = json::array({258});
  refuses(bad, "id 258 names no token");
  bad["special_tokens"] = json::object();
  refuses(bad, "\"<bos>\"");
  bad = bos;
  bad["single"] = json::array({piece("SpecialToken", "<bos>")});
  refuses(bad, "expected sequence A");
  bad["single"] = json::array({piece("Sequence", "A"), piece("Sequence", "B")});
  refuses(bad, "sequence A once");
  refuses(step("RobertaProcessing"), "\"RobertaProcessing\" is not supported");
}

TEST_CASE("added tokens decode to their content, whatever their characters") {
  json root = small_tokenizer();
  root["added_tokens"] = json::array({added_token(300,
                                                  "<\xef\xbd\x9c"
                                                  "end\xe2\x96\x81of\xef\xbd\x9c>"),
                                      added_token(301, "<caf\xc3\xa9>")});
  const auto tokenizer = make_tokenizer(root);
  for (const std::string text : {"a<\xef\xbd\x9c"
                                 "end\xe2\x96\x81of\xef\xbd\x9c>",
                                 "<caf\xc3\xa9>b"}) {
    CHECK(tokenizer.encode(text).size() == 2);
    CHECK(tokenizer.decode(tokenizer.encode(text)) == text);
  }
}

TEST_CASE("ids may leave gaps, which name no token") {
  json root = small_tokenizer();
  root["added_tokens"] = json::array({added_token(300, "<x>")});
  const auto tokenizer = make_tokenizer(root);
  CHECK(tokenizer.vocab_size() == 301);
  CHECK(tokenizer.token_bytes(300) == "<x>");
  CHECK_THROWS_WITH(tokenizer.token_bytes(299), Catch::Matchers::ContainsSubstring("299"));
  CHECK_THROWS_WITH(tokenizer.decode(Ids{'a', 301}), Catch::Matchers::ContainsSubstring("301"));
  CHECK_THROWS_WITH(tokenizer.decode(Ids{-1}), Catch::Matchers::ContainsSubstring("-1"));
}

TEST_CASE("truncation and padding of the file are left alone") {
  json root = small_tokenizer();
  root["truncation"] = {{"max_length", 1}, {"strategy", "LongestFirst"}};
  root["padding"] = {{"strategy", {{"Fixed", 8}}}, {"pad_id", 0}};
  CHECK(make_tokenizer(root).encode("abc") == Ids{'a', 'b', 'c'});
}

TEST_CASE("a moved tokenizer keeps its tokens, and threads share it") {
  Tokenizer first = make_tokenizer(small_tokenizer({{"a", "b"}}));
  const Tokenizer tokenizer = std::move(first);
  std::vector<int> good(4);
  std::vector<std::thread> threads;
  for (int& ok : good) {
    threads.emplace_back([&] {
      ok = 1;
      for (int i = 0; i < 200; ++i) {
        const Ids ids = tokenizer.encode("xabx");
        ok &= ids == Ids{'x', 256, 'x'} && tokenizer.decode(ids) == "xabx";
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(good == std::vector<int>{1, 1, 1, 1});
}
