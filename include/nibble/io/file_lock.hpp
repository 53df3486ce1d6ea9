// FileLock: the right to a folder of files, held by one at a time.
#pragma once

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/stdio_file.hpp>

#if defined(_WIN32)
#include <share.h>
#else
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace nibble {

/// Holds a file that others lock too, until it is destroyed or the process ends, however it ends.
/// The file is empty and stays.
class FileLock {
 public:
#if defined(_WIN32)
  static constexpr bool keeps_file = true;
#else
  /// Whether the file cannot be deleted while it is locked.
  static constexpr bool keeps_file = false;
#endif

  /// Makes the file where it is not there. Throws `Error`, "`path`: `refusal`", where another one
  /// holds it, or with the system's reason where it cannot be opened or locked.
  FileLock(std::filesystem::path path, const char* refusal) : path_(std::move(path)) {
    errno = 0;
    file_.reset(open_locked(path_));
    if (!file_ && is_held(errno)) fail(path_text(path_), ": ", refusal);
    if (!file_) stdio_file::fail_errno(path_, "be locked");
  }

 private:
#if defined(_WIN32)
  static bool is_held(int reason) {
    return reason == EACCES;
  }
  static std::FILE* open_locked(const std::filesystem::path& path) {
    return ::_wfsopen(path.c_str(), L"ab", _SH_DENYRW);
  }
#else
  static bool is_held(int reason) {
    return reason == EWOULDBLOCK;
  }
  static std::FILE* open_locked(const std::filesystem::path& path) {
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (descriptor < 0) return nullptr;
    std::FILE* file = nullptr;
    if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) {
      // Whoever held it may have deleted it between the two calls.
      struct ::stat locked {};
      struct ::stat named {};
      const bool same = ::fstat(descriptor, &locked) == 0 && ::stat(path.c_str(), &named) == 0 &&
                        locked.st_dev == named.st_dev && locked.st_ino == named.st_ino;
      if (same) {
        file = ::fdopen(descriptor, "r+b");
      } else {
        errno = EWOULDBLOCK;
      }
    }
    if (file == nullptr) {
      const int reason = errno;
      ::close(descriptor);
      errno = reason;
    }
    return file;
  }
#endif

  std::filesystem::path path_;
  stdio_file::Stream file_;
};

}  // namespace nibble
