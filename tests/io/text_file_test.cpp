#include <nibble/io/text_file.hpp>

#include "io/io_test_support.hpp"
#include "support/fixtures.hpp"

namespace nibble {
namespace {

using test::TemporaryDirectory;

TEST_CASE("a text file is read whole") {
  const TemporaryDirectory directory;
  const std::string text("a\r\n\0b", 5);
  test::write_bytes(directory / "text", text);
  CHECK(read_text_file(directory / "text") == text);
  test::write_bytes(directory / "empty", "");
  CHECK(read_text_file(directory / "empty").empty());
}

TEST_CASE("files that cannot be read as text say why") {
  const TemporaryDirectory directory;
  REQUIRE_ERROR(read_text_file(directory / "absent"), "absent: no such file");
  REQUIRE_ERROR(read_text_file(directory.path()), "is a directory, expected a file");
  test::write_bytes(directory / "long", "12345");
  CHECK(read_text_file(directory / "long", 5) == "12345");
  REQUIRE_ERROR(read_text_file(directory / "long", 4), "holds 5 bytes, expected at most 4");
#if !defined(_WIN32)
  REQUIRE_ERROR(read_text_file("/dev/zero"), "/dev/zero: not a regular file");
#endif
}

}  // namespace
}  // namespace nibble
