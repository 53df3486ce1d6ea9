#include <nibble/io/atomic_directory.hpp>

#include "io/io_test_support.hpp"
#include "support/fixtures.hpp"

namespace nibble {
namespace {

namespace fs = std::filesystem;
using test::TemporaryDirectory;

void make_model(const fs::path& folder, std::string_view content) {
  fs::create_directory(folder);
  test::write_bytes(folder / "config.json", content);
  test::write_bytes(folder / "model.safetensors", content);
}

TEST_CASE("a folder appears when it is complete") {
  const TemporaryDirectory directory;
  {
    AtomicDirectory out(directory / "out/");
    CHECK(out.final_path() == directory / "out");
    CHECK(out.path().parent_path() == directory.path());
    test::write_bytes(out.path() / "x", "content");
    CHECK_FALSE(fs::exists(directory / "out"));
    out.commit();
  }
  CHECK(test::read_bytes(directory / "out" / "x") == "content");
  CHECK(entries(directory) == 1);
}

TEST_CASE("a folder without commit leaves nothing") {
  const TemporaryDirectory directory;
  {
    AtomicDirectory out(directory / "out");
    fs::create_directory(out.path() / "below");
    test::write_bytes(out.path() / "below" / "x", "content");
  }
  CHECK(entries(directory) == 0);
}

TEST_CASE("an existing folder is kept unless its replacement is asked for") {
  const TemporaryDirectory directory;
  make_model(directory / "out", "old");
  REQUIRE_ERROR(AtomicDirectory(directory / "out"), "out: exists already");
  { AtomicDirectory out(directory / "out", Existing::replace); }
  CHECK(test::read_bytes(directory / "out" / "config.json") == "old");
  {
    AtomicDirectory out(directory / "out", Existing::replace);
    test::write_bytes(out.path() / "config.json", "new");
    CHECK(test::read_bytes(directory / "out" / "config.json") == "old");
    out.commit();
  }
  CHECK(test::read_bytes(directory / "out" / "config.json") == "new");
  CHECK_FALSE(fs::exists(directory / "out" / "model.safetensors"));
  CHECK(entries(directory) == 1);
}

TEST_CASE("what is no model folder is never replaced") {
  const TemporaryDirectory directory;
  const auto replace = [&](const fs::path& name) {
    return AtomicDirectory(directory / name, Existing::replace).path();
  };
  test::write_bytes(directory / "file", "");
  REQUIRE_ERROR(replace("file"), "file: exists and is not a folder");

  fs::create_directory(directory / "letters");
  test::write_bytes(directory / "letters" / "letter.txt", "");
  REQUIRE_ERROR(replace("letters"), "letters: not replaced, since it is no model folder");
  test::write_bytes(directory / "letters" / "config.json", "");
  REQUIRE_ERROR(replace("letters"), "letters: not replaced, since it is no model folder");

  make_model(directory / "home", "");
  fs::create_directory(directory / "home" / "pictures");
  REQUIRE_ERROR(replace("home"), "a folder of its own, \"pictures\"");

  fs::create_directory(directory / "empty");
  CHECK_NOTHROW(replace("empty"));
  REQUIRE_ERROR(AtomicDirectory(directory / "empty"), "exists already");
  CHECK(entries(directory) == 4);
}

TEST_CASE("folders of another kind are replaced by their own") {
  const TemporaryDirectory directory;
  constexpr FolderKind album{"album", "cover.png", "songs.txt"};
  make_model(directory / "model", "");
  REQUIRE_ERROR(AtomicDirectory(directory / "model", Existing::replace, album),
                "since it is no album (expected cover.png and songs.txt)");
  fs::create_directory(directory / "album");
  for (const char* name : {"cover.png", "songs.txt"}) {
    test::write_bytes(directory / "album" / name, "old");
  }
  AtomicDirectory out(directory / "album", Existing::replace, album);
  out.commit(Sync::yes);
  CHECK(fs::is_empty(directory / "album"));
}

TEST_CASE("a folder that appears in the meantime is kept") {
  const TemporaryDirectory directory;
  {
    AtomicDirectory out(directory / "out");
    make_model(directory / "out", "other");
    REQUIRE_ERROR(out.commit(), "out: exists already");
  }
  {
    AtomicDirectory out(directory / "out", Existing::replace);
    fs::create_directory(directory / "out" / "pictures");
    REQUIRE_ERROR(out.commit(), "a folder of its own");
  }
  CHECK(test::read_bytes(directory / "out" / "config.json") == "other");
  CHECK(entries(directory) == 1);
}

TEST_CASE("a partial folder of a killed program does not disturb") {
  const TemporaryDirectory directory;
  make_model(directory / ".out.partial-01234567", "leftover");
  AtomicDirectory out(directory / "out");
  out.commit();
  CHECK(fs::is_directory(directory / "out"));
}

TEST_CASE("impossible places for a folder say why") {
  const TemporaryDirectory directory;
  REQUIRE_ERROR(AtomicDirectory(""), "not the name of a folder to write");
  REQUIRE_ERROR(AtomicDirectory("/"), "not the name of a folder to write");
  REQUIRE_ERROR(AtomicDirectory(directory / "absent" / "out"), "absent: no such directory");
  test::write_bytes(directory / "file", "");
  REQUIRE_ERROR(AtomicDirectory(directory / "file" / "out"), "file: no such directory");
#if defined(__linux__)
  REQUIRE_ERROR(AtomicDirectory("/proc/out"), "/proc/out: cannot be created");
#endif
}

#if !defined(_WIN32)
TEST_CASE("replacing a link to a model folder leaves its target") {
  const TemporaryDirectory directory;
  make_model(directory / "target", "old");
  fs::create_directory_symlink(directory / "target", directory / "out");
  AtomicDirectory(directory / "out", Existing::replace).commit();
  CHECK_FALSE(fs::is_symlink(directory / "out"));
  CHECK(test::read_bytes(directory / "target" / "config.json") == "old");
}
#endif

}  // namespace
}  // namespace nibble
