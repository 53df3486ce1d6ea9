#include <nibble/io/mapped_file.hpp>

#include "io/io_test_support.hpp"
#include "support/fixtures.hpp"

#if !defined(_WIN32)
#include <sys/stat.h>
#endif

namespace nibble {
namespace {

using test::TemporaryDirectory;

TEST_CASE("a mapped file shows its bytes and outlives its name") {
  const TemporaryDirectory directory;
  const std::string text(10'000, 'x');
  test::write_bytes(directory / "data", text);
  std::shared_ptr<const MappedFile> file = MappedFile::open(directory / "data");
  CHECK(file->path() == directory / "data");
  REQUIRE(file->bytes().size() == text.size());
  CHECK(std::memcmp(file->bytes().data(), text.data(), text.size()) == 0);
#if !defined(_WIN32)
  std::filesystem::remove(directory / "data");
  CHECK(std::memcmp(file->bytes().data(), text.data(), text.size()) == 0);
#endif
}

TEST_CASE("files that cannot be mapped say why") {
  const TemporaryDirectory directory;
  REQUIRE_ERROR(MappedFile::open(directory / "absent"), "absent: no such file");
  REQUIRE_ERROR(MappedFile::open(directory.path()), "is a directory, expected a file");
  test::write_bytes(directory / "empty", "");
  REQUIRE_ERROR(MappedFile::open(directory / "empty"), "empty: the file is empty");
  test::write_bytes(directory / "file", "x");
  REQUIRE_ERROR(MappedFile::open(directory / "file" / "below"), "cannot open for reading");
#if !defined(_WIN32)
  REQUIRE_ERROR(MappedFile::open("/dev/zero"), "/dev/zero: not a regular file");
  REQUIRE(::mkfifo((directory / "pipe").c_str(), 0600) == 0);
  REQUIRE_ERROR(MappedFile::open(directory / "pipe"), "pipe: not a regular file");
#endif
}

}  // namespace
}  // namespace nibble
