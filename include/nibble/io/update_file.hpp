// UpdateFile: a file that exists, opened to be changed in place by one writer at a time.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <system_error>
#include <utility>

#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/stdio_file.hpp>

namespace nibble {

/// Holds the right to write a file until it is destroyed; readers are not kept out. What was
/// written may be lost in a crash until `force` has returned.
class UpdateFile {
 public:
  /// Throws `Error` where the file cannot be opened for writing, or another one writes it or
  /// replaces it.
  explicit UpdateFile(std::filesystem::path path) : path_(std::move(path)) {
    errno = 0;
    file_ = stdio_file::open_locked(path_, stdio_file::Locked::existing);
    if (!file_ && errno == EWOULDBLOCK) fail(path_text(path_), ": is being written by another");
    if (!file_) fail_errno("be opened for writing");
  }

  /// Fills `bytes` from byte `offset` on. Throws `Error` where the file ends before.
  void read_at(std::uint64_t offset, std::span<std::byte> bytes) {
    stdio_file::read_at(file_.get(), path_, offset, bytes);
  }

  /// Writes from byte `offset` on.
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    stdio_file::write_at(file_.get(), path_, offset, bytes);
  }

  /// Bytes that the file holds.
  [[nodiscard]] std::uint64_t size() {
    flush();
    std::error_code code;
    const auto size = std::filesystem::file_size(path_, code);
    if (code) fail(path_text(path_), ": cannot be read: ", printable(code.message(), 200));
    return size;
  }

  /// Makes the file end at byte `size`.
  void resize(std::uint64_t size) {
    flush();
    if (!stdio_file::resize(file_.get(), size)) fail_errno("be written");
  }

  /// To be called before the file is replaced by another of its name: gives up the right to write
  /// where the system (Windows) does not let open files be replaced.
  void allow_replacement() noexcept {
#if defined(_WIN32)
    file_.reset();
#endif
  }

  /// Returns when all that was written is on the disk.
  void force() {
    errno = 0;
    if (std::fflush(file_.get()) != 0 || !stdio_file::force_to_disk(file_.get())) {
      fail_errno("be written");
    }
  }

 private:
  void flush() {
    errno = 0;
    if (std::fflush(file_.get()) != 0) fail_errno("be written");
  }

  [[noreturn]] void fail_errno(const char* action) const {
    stdio_file::fail_errno(path_, action);
  }

  std::filesystem::path path_;
  stdio_file::Stream file_;
};

}  // namespace nibble
