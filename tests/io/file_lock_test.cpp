#include <nibble/io/file_lock.hpp>

#include "io/io_test_support.hpp"

namespace nibble {
namespace {

TEST_CASE("a locked file is refused to others until it is given up") {
  const test::TemporaryDirectory directory;
  const std::filesystem::path path = directory / "lock";
  const auto lock = [&] { const FileLock held(path, "held by another"); };
  {
    const FileLock held(path, "");
    CHECK(test::error_of(lock) == path_text(path) + ": held by another");
  }
  CHECK_NOTHROW(lock());
  CHECK(std::filesystem::is_regular_file(path));
  CHECK(test::entries(directory) == 1);
}

TEST_CASE("a file that cannot be locked is named with the reason") {
  const test::TemporaryDirectory directory;
  const auto lock = [](const std::filesystem::path& path) {
    return test::error_of([&] { const FileLock held(path, ""); });
  };
  CHECK_THAT(lock(directory / "nowhere/lock"),
             Catch::Matchers::ContainsSubstring("lock: cannot be locked: "));
  CHECK_THAT(lock(directory.path()), Catch::Matchers::ContainsSubstring(": cannot be locked: "));
}

}  // namespace
}  // namespace nibble
