// Reads a small file (JSON, a template, a recipe) into memory, with a ceiling on its size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>

namespace nibble {

/// The bytes of a regular file. Throws `Error` where it is missing, not a regular file, unreadable
/// or longer than `max_bytes`.
[[nodiscard]] inline std::string read_text_file(const std::filesystem::path& path,
                                                std::uint64_t max_bytes = std::uint64_t{256}
                                                                          << 20) {
  const std::string name = path_text(path);
  std::error_code code;
  const auto status = std::filesystem::status(path, code);
  if (!std::filesystem::exists(status)) fail(name, ": no such file");
  if (std::filesystem::is_directory(status)) fail(name, ": is a directory, expected a file");
  if (!std::filesystem::is_regular_file(status)) fail(name, ": not a regular file");
  const std::uintmax_t size = std::filesystem::file_size(path, code);
  if (code) fail(name, ": cannot be read: ", code.message());
  if (size > max_bytes) {
    fail(name, ": holds ", size, " bytes, expected at most ", max_bytes);
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(name, ": cannot be opened for reading");
  std::string text(static_cast<std::size_t>(size), '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.gcount() != static_cast<std::streamsize>(text.size())) {
    fail(name, ": read ", file.gcount(), " bytes, expected ", text.size());
  }
  return text;
}

}  // namespace nibble
