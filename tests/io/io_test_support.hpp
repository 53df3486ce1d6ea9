// What the tests of files share: expecting an error by its text, and making broken files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>

#include <nibble/core/error.hpp>

#include "support/catch.hpp"
#include "support/fixtures.hpp"

namespace nibble::test {

/// The message of the Error that `call` throws; "" where it throws none.
template <class Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

/// How many files and folders a directory holds.
inline std::size_t entries(const TemporaryDirectory& directory) {
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator(directory.path()), {}));
}

inline void write_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  REQUIRE(file.flush());
}

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A safetensors file: the header's length, the header, `data_size` bytes 0, 1, 2, ...
inline std::string safetensors_bytes(std::string_view header, std::size_t data_size) {
  const std::uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  bytes += header;
  for (std::size_t i = 0; i < data_size; ++i) bytes += static_cast<char>(i);
  return bytes;
}

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span<const char>(text));
}

}  // namespace nibble::test

/// Requires that the expression throws nibble::Error, in one line that contains `text`.
#define REQUIRE_ERROR(expression, text)                                   \
  do {                                                                    \
    const std::string thrown_text =                                       \
        ::nibble::test::error_of([&] { static_cast<void>(expression); }); \
    CHECK_THAT(thrown_text, Catch::Matchers::ContainsSubstring(text));    \
    CHECK(thrown_text.find('\n') == std::string::npos);                   \
  } while (false)
