#include <nibble/io/update_file.hpp>

#include <nibble/io/output_file.hpp>

#include "io/io_test_support.hpp"
#include "support/fixtures.hpp"

namespace nibble {
namespace {

using test::as_bytes;
using test::TemporaryDirectory;

TEST_CASE("a file is changed in place by one writer at a time") {
  const TemporaryDirectory directory;
  const auto path = directory / "f";
  test::write_bytes(path, "0123456789");
  {
    UpdateFile file(path);
    file.write_at(8, as_bytes("abcd"));
    CHECK(file.size() == 12);
    file.resize(10);
    file.force();
    CHECK(test::read_bytes(path) == "01234567ab");
    REQUIRE_ERROR(UpdateFile(path), "f: is being written by another");
  }
  UpdateFile again(path);
  CHECK(again.size() == 10);
  REQUIRE_ERROR(UpdateFile(directory / "absent"), "absent: cannot be opened for writing");
}

#if !defined(_WIN32)
TEST_CASE("what killed writers left is removed, and nothing else") {
  const TemporaryDirectory directory;
  for (const char* name : {".f.partial-01234567", ".f.partial-0123456", ".ff.partial-01234567",
                           "f.partial-01234567", ".f.replaced-01234567"}) {
    test::write_bytes(directory / name, "leftover");
  }
  std::filesystem::create_directory(directory / ".f.partial-89abcdef");
  test::write_bytes(directory / ".f.partial-89abcdef" / "x", "leftover");
  remove_partial_siblings(directory / "f");
  CHECK(test::entries(directory) == 4);
  CHECK_FALSE(std::filesystem::exists(directory / ".f.partial-01234567"));
}
#endif

}  // namespace
}  // namespace nibble
