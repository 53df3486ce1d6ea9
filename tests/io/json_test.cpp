#include <nibble/io/json.hpp>

#include "io/io_test_support.hpp"
#include "support/fixtures.hpp"

namespace nibble {
namespace {

nlohmann::json parse(std::string_view text) {
  return parse_json(text, "f.json");
}

TEST_CASE("JSON is parsed into the same tree as by the library itself") {
  for (const std::string text :
       {R"({"a": {"b": [1, {"c": -2}, []], "d": true}, "e": 1.5, "f": "x\ny", "g": null})",
        R"([[], {}, [[1]], {"": {"": 0}}, 18446744073709551615, -9223372036854775808])",
        R"("\ud83d\ude00 \u00fc \u0000")", "3", "true", "null", " [1]\n", "\xef\xbb\xbf{}"}) {
    CAPTURE(text);
    CHECK(parse(text) == nlohmann::json::parse(text));
  }
}

TEST_CASE("broken JSON is refused with the source and the byte") {
  REQUIRE_ERROR(parse(""), "f.json: byte 0: unexpected end of the text");
  REQUIRE_ERROR(parse(R"({"a":[1,2)"), "f.json: byte 9: unexpected end of the text");
  REQUIRE_ERROR(parse(R"({"a" 1})"), "f.json: byte 7: unexpected");
  REQUIRE_ERROR(parse("{} x"), "f.json: byte 4: unexpected");
  REQUIRE_ERROR(parse("[1,]"), "f.json: byte 4: unexpected");
  REQUIRE_ERROR(parse("[NaN]"), "f.json: byte 2: unexpected");
  REQUIRE_ERROR(parse("// no comments\n{}"), "f.json: byte 1: unexpected");
  REQUIRE_ERROR(parse("[1e999]"), "number 1e999 does not fit a double");
  REQUIRE_ERROR(parse("[\"a\nb\"]"), "f.json: byte 4: unexpected");
  REQUIRE_ERROR(parse(R"(["\ud800"])"), "f.json: byte 9: unexpected");
}

TEST_CASE("malformed UTF-8 in JSON is refused") {
  for (const std::string bytes : {"\xff", "\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80"}) {
    REQUIRE_ERROR(parse("[\"" + bytes + "\"]"), "f.json: byte");
  }
}

TEST_CASE("a zero byte does not end JSON") {
  REQUIRE_ERROR(parse(std::string_view("{}\0{}", 5)), "f.json: byte 2: a zero byte");
  REQUIRE_ERROR(parse(std::string_view("{}\0", 3)), "f.json: byte 2: a zero byte");
}

TEST_CASE("duplicate keys are refused at every depth") {
  REQUIRE_ERROR(parse(R"({"a":1,"b":2,"a":3})"), R"(byte 16: duplicate key "a")");
  REQUIRE_ERROR(parse(R"([{"x":{"a":1,"a":1}}])"), R"(duplicate key "a")");
  REQUIRE_ERROR(parse(R"({"a":1,"\u0061":1})"), R"(duplicate key "a")");
  CHECK(parse(R"([{"a":1},{"a":2}])").size() == 2);
}

TEST_CASE("deep nesting is refused, up to the limit accepted") {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  CHECK(parse(nested(json_depth_limit)).is_array());
  REQUIRE_ERROR(parse(nested(json_depth_limit + 1)), "nested deeper than 64 levels");
  REQUIRE_ERROR(parse(std::string(10'000'000, '[')), "byte 65: nested deeper than 64 levels");
  std::string objects;
  for (int i = 0; i < 65; ++i) objects += R"({"a":)";
  REQUIRE_ERROR(parse(objects), "nested deeper than 64 levels");
}

TEST_CASE("the number of values is limited") {
  std::string text = "[";
  for (std::size_t i = 0; i < json_value_limit; ++i) text += "0,";
  text += "0]";
  REQUIRE_ERROR(parse(text), "more than 8388608 values");
}

TEST_CASE("fields are read exactly or refused by name") {
  const auto object = parse(R"({
    "int": 7, "negative": -1, "large": 4294967296, "huge": 18446744073709551615, "real": 1.5,
    "whole": 2.0, "flag": true, "text": "abc", "null": null, "list": [1, 300], "words": ["a"],
    "wide": 1e39, "object": {}})");
  const auto message = [&](auto call) { return test::error_of([&] { call(); }); };

  CHECK(json_field<int>(object, "int", "f") == 7);
  CHECK(json_field<std::int64_t>(object, "large", "f") == 4294967296);
  CHECK(json_field<std::uint64_t>(object, "huge", "f") == 18446744073709551615U);
  CHECK(json_field<double>(object, "real", "f") == 1.5);
  CHECK(json_field<float>(object, "int", "f") == 7.0F);
  CHECK(json_field<bool>(object, "flag", "f"));
  CHECK(json_field<std::string>(object, "text", "f") == "abc");
  CHECK(json_field<std::vector<int>>(object, "list", "f") == std::vector{1, 300});
  CHECK(json_field<std::vector<std::string>>(object, "words", "f") ==
        std::vector<std::string>{"a"});
  CHECK(json_optional<int>(object, "absent", "f") == std::nullopt);
  CHECK(json_optional<int>(object, "null", "f") == std::nullopt);
  CHECK(json_optional<int>(object, "int", "f", 0, 10) == 7);

  CHECK(message([&] { (void)json_field<int>(object, "absent", "f"); }) ==
        "f: field 'absent': missing");
  CHECK(message([&] { (void)json_field<int>(object, "null", "f"); }) == "f: field 'null': missing");
  CHECK(message([&] { (void)json_field<int>(object, "text", "f", 1, 9); }) ==
        "f: field 'text': expected a positive integer, found \"abc\"");
  CHECK(message([&] { (void)json_field<int>(object, "flag", "f"); }) ==
        "f: field 'flag': expected an integer, found true");
  CHECK(message([&] { (void)json_field<int>(object, "whole", "f"); }) ==
        "f: field 'whole': expected an integer, found 2.0");
  CHECK(message([&] { (void)json_field<int>(object, "int", "f", 0, 6); }) ==
        "f: field 'int': expected an integer from 0 to 6, found 7");
  CHECK(message([&] { (void)json_field<std::uint8_t>(object, "negative", "f"); }) ==
        "f: field 'negative': expected an integer from 0 to 255, found -1");
  CHECK(message([&] { (void)json_field<std::int64_t>(object, "huge", "f"); }) ==
        "f: field 'huge': expected an integer from -9223372036854775808 to 9223372036854775807, "
        "found 18446744073709551615");
  CHECK(message([&] { (void)json_optional<std::uint8_t>(object, "list", "f"); }) ==
        "f: field 'list': expected an integer, found an array of 2 elements");
  CHECK(message([&] { (void)json_field<std::vector<std::uint8_t>>(object, "list", "f"); }) ==
        "f: field 'list' element 1: expected an integer from 0 to 255, found 300");
  CHECK(message([&] { (void)json_field<bool>(object, "int", "f"); }) ==
        "f: field 'int': expected true or false, found 7");
  CHECK(message([&] { (void)json_field<double>(object, "flag", "f"); }) ==
        "f: field 'flag': expected a number, found true");
  CHECK(message([&] { (void)json_field<float>(object, "wide", "f"); }) ==
        "f: field 'wide': expected a number within range, found 1e+39");
  CHECK(message([&] { (void)json_field<std::string>(object, "object", "f"); }) ==
        "f: field 'object': expected a string, found an object of 0 fields");
  CHECK(message([&] { (void)json_field<int>(object["list"], "x", "f"); }) ==
        "f: expected an object, found an array of 2 elements");
}

TEST_CASE("messages about JSON repeat little of a hostile file") {
  const auto object = parse("{\"x\": \"" + std::string(1'000'000, 'y') + "\"}");
  const std::string message = test::error_of([&] { (void)json_field<int>(object, "x", "f"); });
  CHECK(message.size() < 200);
  CHECK(test::error_of([&] { (void)parse(std::string(1'000'000, 'y')); }).size() < 200);
  const std::string key(1'000'000, 'k');
  CHECK(test::error_of([&] { (void)parse("{\"" + key + "\":1,\"" + key + "\":1}"); }).size() < 200);
  REQUIRE_ERROR(json_field<int>(parse(R"({"x":"a\nb"})"), "x", "f"), R"(found "a\x0ab")");
}

TEST_CASE("a JSON file is named in its errors") {
  const test::TemporaryDirectory directory;
  test::write_bytes(directory / "good.json", R"({"a": 1})");
  CHECK(read_json_file(directory / "good.json").at("a") == 1);
  test::write_bytes(directory / "bad.json", "{");
  REQUIRE_ERROR(read_json_file(directory / "bad.json"), "bad.json: byte 1: unexpected end");
  REQUIRE_ERROR(read_json_file(directory / "good.json", 3), "expected at most 3");
}

}  // namespace
}  // namespace nibble
