// FileLock: the right to a folder of files, held by one at a time.
#pragma once

#include <cerrno>
#include <filesystem>
#include <utility>

#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/stdio_file.hpp>

namespace nibble {

/// Holds a file that others lock too, until it is destroyed or the process ends, however it ends.
/// The file is empty and stays.
class FileLock {
 public:
  /// Whether the file cannot be deleted while it is locked.
#if defined(_WIN32)
  static constexpr bool keeps_file = true;
#else
  static constexpr bool keeps_file = false;
#endif

  /// Makes the file where it is not there. Throws `Error`, "`path`: `refusal`", where another one
  /// holds it, or with the system's reason where it cannot be opened or locked.
  FileLock(std::filesystem::path path, const char* refusal) : path_(std::move(path)) {
    errno = 0;
    file_ = stdio_file::open_locked(path_, stdio_file::Locked::made);
    if (!file_ && errno == held) fail(path_text(path_), ": ", refusal);
    if (!file_) stdio_file::fail_errno(path_, "be locked");
  }

 private:
#if defined(_WIN32)
  static constexpr int held = EACCES;
#else
  static constexpr int held = EWOULDBLOCK;
#endif

  std::filesystem::path path_;
  stdio_file::Stream file_;
};

}  // namespace nibble
