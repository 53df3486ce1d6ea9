#include <nibble/io/output_file.hpp>

#include "io/io_test_support.hpp"
#include "support/fixtures.hpp"

#if !defined(_WIN32)
#include "support/file_size_limit.hpp"
#endif

namespace nibble {
namespace {

using test::as_bytes;
using test::TemporaryDirectory;

bool is_empty(const TemporaryDirectory& directory) {
  return std::filesystem::is_empty(directory.path());
}

TEST_CASE("a file appears when it is complete") {
  const TemporaryDirectory directory;
  {
    OutputFile file(directory / "f");
    file.write(as_bytes("ab"));
    file.write_at(4, as_bytes("ef"));
    file.write_at(2, as_bytes("cd"));
    CHECK_FALSE(std::filesystem::exists(directory / "f"));
    file.commit(Sync::yes);
  }
  CHECK(test::read_bytes(directory / "f") == "abcdef");
  write_text_file(directory / "f", "new");
  CHECK(test::read_bytes(directory / "f") == "new");
}

TEST_CASE("a file without commit leaves the old one") {
  const TemporaryDirectory directory;
  { OutputFile(directory / "f").write(as_bytes("ab")); }
  CHECK(is_empty(directory));
  test::write_bytes(directory / "f", "old");
  { OutputFile(directory / "f").write(as_bytes("ab")); }
  CHECK(test::read_bytes(directory / "f") == "old");
}

TEST_CASE("a partial file of a killed program does not disturb") {
  const TemporaryDirectory directory;
  test::write_bytes(directory / ".f.partial-01234567", "leftover");
  write_text_file(directory / "f", "new");
  CHECK(test::read_bytes(directory / "f") == "new");
}

TEST_CASE("unwritable places say why") {
  const TemporaryDirectory directory;
  REQUIRE_ERROR(OutputFile(directory / "absent" / "f"), "f: cannot be created: No such file");
  test::write_bytes(directory / "file", "");
  REQUIRE_ERROR(OutputFile(directory / "file" / "f"), "f: cannot be created: Not a directory");
  REQUIRE_ERROR(OutputFile(directory.path()), "exists and is not a regular file");
#if defined(__linux__)
  REQUIRE_ERROR(OutputFile("/proc/f"), "/proc/f: cannot be created");
  REQUIRE_ERROR(OutputFile("/dev/full"), "/dev/full: exists and is not a regular file");
#endif
}

#if !defined(_WIN32)
TEST_CASE("a full disk is reported and leaves nothing") {
  const TemporaryDirectory directory;
  test::write_bytes(directory / "f", "old");
  std::string large_write, late_flush;
  {
    const test::FileSizeLimit limit(16'384);
    large_write = test::error_of([&] {
      OutputFile file(directory / "f");
      file.write(as_bytes(std::string(1'000'000, 'x')));
    });
    late_flush = test::error_of([&] {
      OutputFile file(directory / "f");
      for (int i = 0; i < 4; ++i) file.write(as_bytes(std::string(4'096, 'x')));
      file.write(as_bytes("x"));
      file.commit();
    });
  }
  CHECK_THAT(large_write,
             Catch::Matchers::ContainsSubstring("f: cannot be written: File too large"));
  CHECK_THAT(late_flush,
             Catch::Matchers::ContainsSubstring("f: cannot be written: File too large"));
  CHECK(test::read_bytes(directory / "f") == "old");
  std::filesystem::remove(directory / "f");
  CHECK(is_empty(directory));
}
#endif

}  // namespace
}  // namespace nibble
