#include <nibble/text/utf8.hpp>

#include <string>

#include "support/catch.hpp"

using namespace nibble::text;

namespace {

std::string lossy(std::string_view bytes) {
  std::string out;
  if (append_lossy(out, bytes) < bytes.size()) out += replacement_character;
  return out;
}

}  // namespace

TEST_CASE("every code point survives encoding and decoding") {
  for (char32_t code = 0; code <= 0x10ffff; ++code) {
    if (code >= 0xd800 && code <= 0xdfff) continue;
    std::string bytes;
    append_utf8(bytes, code);
    const Utf8Step step = utf8_step(bytes);
    if (step.state != Utf8State::Valid || step.code_point != code || step.length != bytes.size()) {
      FAIL("U+" << std::hex << static_cast<unsigned>(code));
    }
  }
}

TEST_CASE("malformed UTF-8 is found where it begins") {
  CHECK_FALSE(find_invalid_utf8(""));
  CHECK_FALSE(find_invalid_utf8("na\xc3\xafve"));
  CHECK(find_invalid_utf8("ab\x80") == 2u);
  CHECK(find_invalid_utf8("\xc0\xaf") == 0u);              // overlong
  CHECK(find_invalid_utf8("\xe0\x9f\xbf") == 0u);          // overlong
  CHECK(find_invalid_utf8("a\xed\xa0\x80") == 1u);         // surrogate
  CHECK(find_invalid_utf8("\xf4\x90\x80\x80") == 0u);      // beyond U+10FFFF
  CHECK(find_invalid_utf8("\xf8\x88\x80\x80\x80") == 0u);  // five bytes
  CHECK(find_invalid_utf8("ab\xe2\x82") == 2u);            // cut
}

TEST_CASE("each malformed part becomes one U+FFFD") {
  // The examples of Unicode 15, tables 3-8 to 3-11.
  const std::string r(replacement_character);
  CHECK(lossy("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41") == r + r + r + r + r + r + r + r + "A");
  CHECK(lossy("\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41") == r + r + r + r + r + r + r + r + "A");
  CHECK(lossy("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42") == r + r + r + r + r + "A" + r + r + "B");
  CHECK(lossy("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41") == r + r + r + r + "A");
  CHECK(lossy("ok \xf0\x9f\x99") == "ok " + r);
  CHECK(lossy("\xf0\x9f\x99\x82") == "\xf0\x9f\x99\x82");
}
