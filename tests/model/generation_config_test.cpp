#include <nibble/model/generation_config.hpp>

#include "io/io_test_support.hpp"

namespace nibble {
namespace {

GenerationDefaults parse_defaults(std::string_view text) {
  return parse_generation_defaults(parse_json(text, "g"), "g");
}

TEST_CASE("generation defaults are read, and what is absent stays empty") {
  const auto none =
      parse_defaults(R"({"_from_model_config": true, "transformers_version": "5.17.0"})");
  CHECK(none.eos_ids.empty());
  CHECK_FALSE((none.do_sample || none.temperature || none.top_k || none.top_p || none.min_p ||
               none.repetition_penalty));
  const auto all = parse_defaults(R"({
    "bos_token_id": 151643, "do_sample": true, "eos_token_id": [151645, 151643],
    "repetition_penalty": 1.1, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "min_p": 0.0})");
  CHECK(all.eos_ids == std::vector<TokenId>{151645, 151643});
  CHECK(all.do_sample == true);
  CHECK(all.temperature == 0.7F);
  CHECK(all.top_k == 20);
  CHECK(all.top_p == 0.8F);
  CHECK(all.min_p == 0.0F);
  CHECK(all.repetition_penalty == 1.1F);
  CHECK(parse_defaults(R"({"eos_token_id": 2})").eos_ids == std::vector<TokenId>{2});
  CHECK(parse_defaults(R"({"top_k": -1})").top_k == 0);
  CHECK(parse_defaults(R"({"temperature": 0, "top_p": 1})").top_p == 1.0F);
}

TEST_CASE("generation defaults out of range are refused by name") {
  REQUIRE_ERROR(parse_defaults(R"({"temperature": -1})"),
                "g: field 'temperature': expected at least 0");
  REQUIRE_ERROR(parse_defaults(R"({"top_p": 0})"),
                "g: field 'top_p': expected more than 0 and at most 1");
  REQUIRE_ERROR(parse_defaults(R"({"top_p": 1.5})"), "'top_p'");
  REQUIRE_ERROR(parse_defaults(R"({"min_p": 2})"), "'min_p'");
  REQUIRE_ERROR(parse_defaults(R"({"top_k": -2})"), "'top_k'");
  REQUIRE_ERROR(parse_defaults(R"({"top_k": 2.5})"), "'top_k': expected an integer, found 2.5");
  REQUIRE_ERROR(parse_defaults(R"({"repetition_penalty": 0})"), "'repetition_penalty'");
  REQUIRE_ERROR(parse_defaults(R"({"do_sample": 1})"), "'do_sample': expected true or false");
  REQUIRE_ERROR(parse_defaults(R"({"eos_token_id": "2"})"), "'eos_token_id'");
}

}  // namespace
}  // namespace nibble
