// ScratchFile: numbers that do not fit in memory, on disk for as long as they are needed.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <system_error>

#include <nibble/core/error.hpp>
#include <nibble/io/output_file.hpp>
#include <nibble/io/stdio_file.hpp>

namespace nibble {

/// A temporary file to write and read at any place. Where the system allows it (POSIX), the file
/// has no name from the beginning, so that even a killed program leaves nothing behind. Every
/// failed operation throws `Error` with the file's name and the system's reason.
class ScratchFile {
 public:
  /// Creates ".<name>.scratch-<random>" in `directory`.
  ScratchFile(const std::filesystem::path& directory, const std::filesystem::path& name)
      : path_(sibling_path(directory / name, "scratch")) {
    errno = 0;
    file_.reset(open_new(path_));
    if (!file_) stdio_file::fail_errno(path_, "be created");
#if !defined(_WIN32)
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
#endif
  }

  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  ~ScratchFile() {
    file_.reset();
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }

  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    stdio_file::write_at(file_.get(), path_, offset, bytes);
    if (std::fflush(file_.get()) != 0) stdio_file::fail_errno(path_, "be written");
  }

  /// Reads what was written there.
  void read_at(std::uint64_t offset, std::span<std::byte> bytes) {
    stdio_file::read_at(file_.get(), path_, offset, bytes);
  }

 private:
#if defined(_WIN32)
  static std::FILE* open_new(const std::filesystem::path& path) {
    return ::_wfsopen(path.c_str(), L"w+bx", _SH_DENYRW);
  }
#else
  static std::FILE* open_new(const std::filesystem::path& path) {
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0) return nullptr;
    std::FILE* file = ::fdopen(descriptor, "w+b");
    if (file == nullptr) {
      ::close(descriptor);
      ::unlink(path.c_str());
    }
    return file;
  }
#endif

  std::filesystem::path path_;
  stdio_file::Stream file_;
};

}  // namespace nibble
