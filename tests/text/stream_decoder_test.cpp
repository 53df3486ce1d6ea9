#include <nibble/text/stream_decoder.hpp>

#include <random>
#include <string>
#include <vector>

#include "small_tokenizer.hpp"
#include "support/catch.hpp"

using namespace nibble;
using namespace nibble::test;

namespace {

constexpr const char* replacement = "\xef\xbf\xbd";

Tokenizer tokenizer_with_special() {
  auto json = small_tokenizer({{"\xf0\x9f", "\x99\x82"}, {"\xc3\xa9", "\xc3"}});
  json["model"]["vocab"][byte_level("\xf0\x9f")] = 300;
  json["model"]["vocab"][byte_level("\x99\x82")] = 301;
  json["model"]["vocab"][byte_level("\xc3\xa9")] = 302;
  json["added_tokens"] = nlohmann::json::array({added_token(400, "<s>", {{"special", true}})});
  return make_tokenizer(json);
}

}  // namespace

TEST_CASE("a character appears when its last byte does") {
  const auto tokenizer = tokenizer_with_special();
  StreamDecoder stream(tokenizer);
  CHECK(stream.next('a') == "a");
  CHECK(stream.next(0xf0) == "");
  CHECK(stream.next(0x9f) == "");
  CHECK(stream.next(301) == "\xf0\x9f\x99\x82");
  CHECK(stream.next(257) == "\xc3\xa9");  // and the first byte of another
  CHECK(stream.next(400) == "");          // a special token in between changes nothing
  CHECK(stream.next(0xa8) == "\xc3\xa8");
  CHECK(stream.flush() == "");
}

TEST_CASE("what can never become a character is replaced at once, the rest at the end") {
  const auto tokenizer = tokenizer_with_special();
  StreamDecoder stream(tokenizer);
  CHECK(stream.next(0x80) == replacement);
  CHECK(stream.next(0xe2) == "");
  CHECK(stream.next(0x82) == "");
  CHECK(stream.next('a') == std::string(replacement) + "a");
  CHECK(stream.next(0xe2) == "");
  CHECK(stream.next(0x82) == "");
  CHECK(stream.flush() == replacement);
  CHECK(stream.next('b') == "b");
  CHECK(stream.flush() == "");
}

TEST_CASE("special tokens are shown on request") {
  const auto tokenizer = tokenizer_with_special();
  StreamDecoder stream(tokenizer, /*skip_special_tokens=*/false);
  CHECK(stream.next(400) == "<s>");
}

TEST_CASE("an unknown id leaves the stream as it was") {
  const auto tokenizer = tokenizer_with_special();
  StreamDecoder stream(tokenizer);
  CHECK(stream.next(0xc3) == "");
  for (const TokenId id : {-1, 299, 401, 2'000'000'000}) CHECK_THROWS_AS(stream.next(id), Error);
  CHECK(stream.next(0xa9) == "\xc3\xa9");
}

TEST_CASE("a stream and decode agree on random ids") {
  const auto tokenizer = tokenizer_with_special();
  std::mt19937 random(3);
  for (int round = 0; round < 500; ++round) {
    const std::vector<TokenId> choice = {'a',  0x80, 0x99, 0xc3, 0xe2, 0xed, 0xf0, 0xf4,
                                         0xa0, 0xff, 256,  257,  300,  301,  302,  400};
    std::vector<TokenId> ids;
    for (std::size_t n = random() % 20; n > 0; --n) ids.push_back(choice[random() % choice.size()]);
    for (const bool skip : {true, false}) {
      StreamDecoder stream(tokenizer, skip);
      std::string text;
      for (const TokenId id : ids) {
        text += stream.next(id);
        CHECK_FALSE(text::find_invalid_utf8(text));
      }
      text += stream.flush();
      CHECK(text == tokenizer.decode(ids, skip));
    }
  }
}
