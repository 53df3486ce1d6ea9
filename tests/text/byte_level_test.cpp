#include <nibble/text/byte_level.hpp>

#include <set>
#include <string>

#include "support/catch.hpp"

using namespace nibble::text;

TEST_CASE("the byte alphabet is GPT-2's") {
  CHECK(byte_to_code_point('A') == U'A');
  CHECK(byte_to_code_point('~') == U'~');
  CHECK(byte_to_code_point(' ') == U'\u0120');
  CHECK(byte_to_code_point('\n') == U'\u010a');
  CHECK(byte_to_code_point('\t') == U'\u0109');
  CHECK(byte_to_code_point(0x00) == U'\u0100');
  CHECK(byte_to_code_point(0x7f) == U'\u0121');
  CHECK(byte_to_code_point(0x80) == U'\u0122');
  CHECK(byte_to_code_point(0xa0) == U'\u0142');
  CHECK(byte_to_code_point(0xa1) == U'\u00a1');
  CHECK(byte_to_code_point(0xad) == U'\u0143');
  CHECK(byte_to_code_point(0xff) == U'\u00ff');
}

TEST_CASE("the byte alphabet is one to one") {
  std::set<char32_t> codes;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char32_t code = byte_to_code_point(static_cast<unsigned char>(byte));
    codes.insert(code);
    CHECK(code_point_to_byte(code) == static_cast<unsigned char>(byte));
  }
  CHECK(codes.size() == 256);
  for (const char32_t code : {U' ', U'\n', U'\u00a0', U'\u00ad', U'\u0144', U'\uff5c'}) {
    CHECK_FALSE(code_point_to_byte(code));
  }
}

TEST_CASE("bytes are written and read back; other text is refused whole") {
  std::string written, bytes = "before";
  append_byte_level(written, " caf\xc3\xa9\n");
  CHECK(written == "\u0120caf\u00c3\u00a9\u010a");
  CHECK(append_bytes_of(bytes, written));
  CHECK(bytes == "before caf\xc3\xa9\n");
  CHECK_FALSE(append_bytes_of(bytes, "x y"));
  CHECK(bytes == "before caf\xc3\xa9\n");
}
