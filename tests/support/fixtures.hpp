// Where tests find their data: the checkout, the optional fixtures, and a scratch directory.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <system_error>

#include "support/catch.hpp"

namespace nibble::test {

/// A file or folder of the checkout, by its path from the top.
inline std::filesystem::path source_path(const std::filesystem::path& relative) {
  return std::filesystem::path(NIBBLE_SOURCE_DIR) / relative;
}

/// The folder that the environment variable NIBBLE_FIXTURES names, where there is one.
inline std::optional<std::filesystem::path> fixtures() {
  const char* value = std::getenv("NIBBLE_FIXTURES");
  if (value == nullptr || !std::filesystem::is_directory(value)) return std::nullopt;
  return std::filesystem::path(value);
}

/// A directory of its own that goes away with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::random_device random;
    do {
      path_ = std::filesystem::temp_directory_path() /
              ("nibble-test-" + std::to_string(random()) + "-" + std::to_string(random()));
    } while (!std::filesystem::create_directory(path_));
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path operator/(const std::filesystem::path& name) const {
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace nibble::test

/// Defines `path_variable`, the fixtures' folder; without one, says so and leaves the test case.
#define NIBBLE_REQUIRE_FIXTURES(path_variable)                                           \
  const auto path_variable##_optional = ::nibble::test::fixtures();                      \
  if (!path_variable##_optional) {                                                       \
    WARN("skipped: NIBBLE_FIXTURES is not set, or the folder that it names is missing"); \
    SUCCEED();                                                                           \
    return;                                                                              \
  }                                                                                      \
  const std::filesystem::path path_variable = *path_variable##_optional
