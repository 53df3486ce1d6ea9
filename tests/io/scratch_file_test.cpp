#include <nibble/io/scratch_file.hpp>

#include "io/io_test_support.hpp"

#if !defined(_WIN32)
#include "support/file_size_limit.hpp"
#endif

namespace nibble {
namespace {

using test::as_bytes;
using test::TemporaryDirectory;

std::string read(ScratchFile& file, std::uint64_t offset, std::size_t size) {
  std::string text(size, '\0');
  file.read_at(offset, std::as_writable_bytes(std::span(text)));
  return text;
}

TEST_CASE("a scratch file is written and read anywhere, and gone afterwards") {
  const TemporaryDirectory directory;
  {
    ScratchFile file(directory.path(), "numbers");
    ScratchFile other(directory.path(), "numbers");
    file.write_at(0, as_bytes("abcd"));
    other.write_at(0, as_bytes("wxyz"));
    CHECK(read(file, 1, 2) == "bc");
    file.write_at(100'000, as_bytes("far"));
    file.write_at(1, as_bytes("BC"));
    CHECK(read(file, 0, 4) == "aBCd");
    CHECK(read(file, 100'000, 3) == "far");
    CHECK(read(file, 50, 1) == std::string(1, '\0'));
    CHECK(read(other, 0, 4) == "wxyz");
    REQUIRE_ERROR(read(file, 100'000, 4), "cannot be read");
    CHECK(read(file, 0, 1) == "a");
  }
  CHECK(test::entries(directory) == 0);
}

TEST_CASE("a scratch file that cannot be says why") {
  const TemporaryDirectory directory;
  REQUIRE_ERROR(ScratchFile(directory / "absent", "numbers"), "cannot be created: No such file");
#if !defined(_WIN32)
  std::string full;
  {
    const test::FileSizeLimit limit(4'096);
    full = test::error_of([&] {
      ScratchFile(directory.path(), "numbers").write_at(0, as_bytes(std::string(9'000, 'x')));
    });
  }
  CHECK_THAT(full, Catch::Matchers::ContainsSubstring("cannot be written: File too large"));
#endif
  CHECK(test::entries(directory) == 0);
}

}  // namespace
}  // namespace nibble
