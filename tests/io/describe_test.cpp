#include <nibble/io/describe.hpp>

#include "support/catch.hpp"

namespace nibble {
namespace {

TEST_CASE("text for messages stays on one line") {
  CHECK(printable("plain") == "plain");
  CHECK(printable("a\nb\r\t\x1b[0m") == "a\\x0ab\\x0d\\x09\\x1b[0m");
  CHECK(in_quotes("x") == "\"x\"");
  CHECK(printable("gr\xc3\xbc\xc3\x9f") == "gr\xc3\xbc\xc3\x9f");
  CHECK(printable("\xc2\x85") == "\\xc2\\x85");           // next line
  CHECK(printable("\xe2\x80\xa8") == "\\xe2\\x80\\xa8");  // line separator
  CHECK(printable(std::string_view("\0", 1)) == "\\x00");
}

TEST_CASE("malformed UTF-8 is escaped byte by byte") {
  CHECK(printable("\xff") == "\\xff");
  CHECK(printable("\xc3") == "\\xc3");                             // cut short
  CHECK(printable("\xc0\x80") == "\\xc0\\x80");                    // overlong
  CHECK(printable("\xe0\x80\x80") == "\\xe0\\x80\\x80");           // overlong
  CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");           // surrogate
  CHECK(printable("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");  // beyond U+10FFFF
  CHECK(printable("\xf0\x9f\x98\x80") == "\xf0\x9f\x98\x80");
}

TEST_CASE("text for messages is clipped between characters") {
  CHECK(printable(std::string(1000, 'x')) == std::string(60, 'x') + "...");
  CHECK(printable(std::string(60, 'x')) == std::string(60, 'x'));
  CHECK(printable("ab\xc3\xbc", 3) == "ab...");
  CHECK(printable("ab\n", 5) == "ab...");
}

TEST_CASE("paths are shown as UTF-8 on one line") {
  CHECK(path_text("a/b.json") == "a/b.json");
  CHECK(path_text(std::filesystem::path(u8"gr\u00fc\u00df")) == "gr\xc3\xbc\xc3\x9f");
  CHECK(path_text("a\nb") == "a\\x0ab");
}

}  // namespace
}  // namespace nibble
