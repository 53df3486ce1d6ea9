#include <nibble/text/pre_tokenizer.hpp>

#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace nibble::text;
using nlohmann::json;
using Strings = std::vector<std::string>;

namespace {

const json plain = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};

Strings split(const json& value, std::string_view text) {
  const auto pre_tokenizer = PreTokenizer::parse(&value, "test");
  PreTokenizerScratch scratch(text.size());
  pre_tokenizer.split(text, scratch);
  return {scratch.pieces.begin(), scratch.pieces.end()};
}

json sequence(std::vector<json> steps) {
  steps.push_back(plain);
  return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

json split_step(const json& pattern, const char* behavior, bool invert = false) {
  return {{"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", invert}};
}

}  // namespace

TEST_CASE("Split has five behaviors") {
  const auto run = [](const char* behavior, std::string_view text, bool invert = false) {
    return split(sequence({split_step({{"String", "-"}}, behavior, invert)}), text);
  };
  const std::string_view text = "The-final--countdown";
  CHECK(run("Isolated", text) == Strings{"The", "-", "final", "-", "-", "countdown"});
  CHECK(run("Removed", text) == Strings{"The", "final", "countdown"});
  CHECK(run("MergedWithPrevious", text) == Strings{"The-", "final-", "-", "countdown"});
  CHECK(run("MergedWithNext", text) == Strings{"The", "-final", "-", "-countdown"});
  CHECK(run("Contiguous", text) == Strings{"The", "-", "final", "--", "countdown"});

  CHECK(run("MergedWithPrevious", "--a-") == Strings{"-", "-", "a-"});
  CHECK(run("MergedWithNext", "-a--") == Strings{"-a", "-", "-"});
  CHECK(run("Contiguous", "--a") == Strings{"--", "a"});
  CHECK(run("Removed", "--").empty());
  CHECK(run("Isolated", "").empty());

  CHECK(run("Removed", text, true) == Strings{"-", "-", "-"});
  CHECK(run("MergedWithPrevious", "a-b", true) == Strings{"a", "-b"});
  CHECK(run("Contiguous", "a--b", true) == Strings{"a", "--", "b"});
}

TEST_CASE("a step sees the pieces of the step before it alone") {
  const json steps = sequence(
      {split_step({{"Regex", "\\d"}}, "Isolated"), split_step({{"Regex", "^b|a$"}}, "Isolated")});
  CHECK(split(steps, "ba1ba") == Strings{"b", "a", "1", "b", "a"});
}

TEST_CASE("Digits are any numeric characters") {
  const json one = {{"type", "Digits"}, {"individual_digits", true}};
  const json runs = {{"type", "Digits"}, {"individual_digits", false}};
  CHECK(split(sequence({one}), "a12\xc2\xbd z") == Strings{"a", "1", "2", "\xc2\xbd", " z"});
  CHECK(split(sequence({runs}), "a12\xc2\xbd z") == Strings{"a", "12\xc2\xbd", " z"});
  CHECK(split(sequence({runs}), "12") == Strings{"12"});
}

TEST_CASE("ByteLevel splits as GPT-2, and may put a space first") {
  const json gpt2 = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}};
  CHECK(split(gpt2, "Hello my  friend's 12 o'clock!\n") ==
        Strings{"Hello", " my", " ", " friend", "'s", " 12", " o", "'", "clock", "!", "\n"});
  CHECK(split(gpt2, "don't WE'LL") == Strings{"don", "'t", " WE", "'", "LL"});

  const json prefix = {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"use_regex", true}};
  CHECK(split(prefix, "a b") == Strings{" a", " b"});
  CHECK(split(prefix, " a") == Strings{" a"});
  CHECK(split(prefix, "\ta") == Strings{" ", "\t", "a"});
  CHECK(split(prefix, "").empty());
}

TEST_CASE("Llama 3's pattern") {
  const std::string pattern = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|)"
                              R"( ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  const json llama = sequence({split_step({{"Regex", pattern}}, "Isolated")});
  CHECK(split(llama, "I'LL 12345 x=(y)\r\n\n  \n   z") ==
        Strings{"I", "'LL", " ", "123", "45", " x", "=(", "y", ")\r\n\n", "  \n", "  ", " z"});
}

TEST_CASE("other pre-tokenizers are refused by name") {
  const auto refuses = [](const json& value, const std::string& name) {
    CHECK_THROWS_WITH(PreTokenizer::parse(&value, "file: pre_tokenizer"),
                      Catch::Matchers::ContainsSubstring(name));
  };
  refuses({{"type", "Metaspace"}}, "\"Metaspace\" is not supported");
  refuses(sequence({{{"type", "Punctuation"}}}), "\"Punctuation\" is not supported");
  refuses(sequence({plain}), "\"ByteLevel\" after ByteLevel");
  refuses(split_step({{"String", "-"}}, "Isolated"), "expected ByteLevel");
  refuses(sequence({split_step({{"String", "-"}}, "Sideways")}), "\"Sideways\" is unknown");
  refuses(sequence({split_step({{"Glob", "-"}}, "Removed")}), "either Regex or String");
  refuses(sequence({split_step({{"Regex", "("}}, "Removed")}), "is invalid");
  refuses(sequence(std::vector<json>(40, {{"type", "Digits"}})), "more than 32 steps");
  refuses({{"type", "Sequence"}, {"pretokenizers", 1}}, "expected an array");
  refuses(json::array(), "expected an object");
  CHECK_THROWS_WITH(PreTokenizer::parse(nullptr, "file"),
                    Catch::Matchers::ContainsSubstring("expected ByteLevel"));
}
