// What files that are read or written at any place share: a stream, its position, its failures.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <system_error>

#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>

#if defined(_WIN32)
#include <io.h>
#include <share.h>
#else
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#endif

namespace nibble::stdio_file {

struct Close {
  void operator()(std::FILE* file) const noexcept { std::fclose(file); }
};
using Stream = std::unique_ptr<std::FILE, Close>;

/// Whether a locked file is opened as it is, or made where it is not there and, on Windows, kept
/// from readers too.
enum class Locked : bool { existing, made };

/// Opens a file for reading and writing by one at a time, until the stream is closed or the process
/// ends, however it ends. Null, with errno set, where that fails: to EWOULDBLOCK, except on
/// Windows, where another one holds it, or has replaced or deleted it meanwhile.
[[nodiscard]] inline Stream open_locked(const std::filesystem::path& path, Locked kind) {
  const bool make = kind == Locked::made;
#if defined(_WIN32)
  return Stream(::_wfsopen(path.c_str(), make ? L"ab" : L"r+b", make ? _SH_DENYRW : _SH_DENYWR));
#else
  const int descriptor =
      ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | (make ? O_CREAT : 0), 0666);
  if (descriptor < 0) return nullptr;
  std::FILE* file = nullptr;
  if (::flock(descriptor, LOCK_EX | LOCK_NB) == 0) {
    struct stat opened {};
    struct stat named {};
    const bool same = ::fstat(descriptor, &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
                      opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
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
  return Stream(file);
#endif
}

/// Goes to byte `offset`, which writes out what the stream has buffered. False, with errno set,
/// where that fails.
[[nodiscard]] inline bool seek(std::FILE* file, std::uint64_t offset) {
#if defined(_WIN32)
  using Offset = std::int64_t;
#else
  using Offset = off_t;
#endif
  if (offset > static_cast<std::uint64_t>(std::numeric_limits<Offset>::max())) {
    errno = EFBIG;
    return false;
  }
#if defined(_WIN32)
  return ::_fseeki64(file, static_cast<Offset>(offset), SEEK_SET) == 0;
#else
  return ::fseeko(file, static_cast<Offset>(offset), SEEK_SET) == 0;
#endif
}

/// Makes a file whose stream is flushed end at byte `size`. False, with errno set, where that
/// fails.
[[nodiscard]] inline bool resize(std::FILE* file, std::uint64_t size) {
#if defined(_WIN32)
  const int error = ::_chsize_s(::_fileno(file), static_cast<std::int64_t>(size));
  errno = error;
  return error == 0;
#else
  return ::ftruncate(::fileno(file), static_cast<off_t>(size)) == 0;
#endif
}

/// Returns when what was flushed is on the disk. False, with errno set, where that fails.
[[nodiscard]] inline bool force_to_disk(std::FILE* file) {
#if defined(_WIN32)
  return ::_commit(::_fileno(file)) == 0;
#else
  return ::fsync(::fileno(file)) == 0;
#endif
}

/// Returns when the names in a directory, "" for the current one, are on the disk, as far as the
/// system can force them there. False, with errno set, where that fails.
[[nodiscard]] inline bool force_names_to_disk(const std::filesystem::path& directory) {
#if defined(_WIN32)
  static_cast<void>(directory);
  return true;
#else
  const int descriptor =
      ::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return errno == EACCES;  // may be written, not read
  const bool forced = ::fsync(descriptor) == 0 || errno == EINVAL || errno == ENOTSUP;
  const int reason = errno;
  ::close(descriptor);
  errno = reason;
  return forced;
#endif
}

/// Throws Error: what cannot be done to the file, and the reason in errno, if any.
[[noreturn]] inline void fail_errno(const std::filesystem::path& path, const char* action) {
  const std::error_code code(errno, std::generic_category());
  fail(path_text(path), ": cannot ", action,
       code ? ": " + printable(code.message(), 200) : std::string());
}

/// Fills `bytes` from byte `offset` of the file on. Throws Error, also where the file ends before.
inline void read_at(std::FILE* file, const std::filesystem::path& path, std::uint64_t offset,
                    std::span<std::byte> bytes) {
  errno = 0;
  if (!seek(file, offset)) fail_errno(path, "be positioned");
  if (std::fread(bytes.data(), 1, bytes.size(), file) != bytes.size()) {
    fail_errno(path, "be read");
  }
}

/// Writes from byte `offset` of the file on, into the stream's buffer. Throws Error.
inline void write_at(std::FILE* file, const std::filesystem::path& path, std::uint64_t offset,
                     std::span<const std::byte> bytes) {
  errno = 0;
  if (!seek(file, offset)) fail_errno(path, "be positioned");
  if (std::fwrite(bytes.data(), 1, bytes.size(), file) != bytes.size()) {
    fail_errno(path, "be written");
  }
}

}  // namespace nibble::stdio_file
