// OutputFile: a file that appears under its name only when it is complete.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/stdio_file.hpp>

#if defined(_WIN32)
#include <io.h>
#include <share.h>
#else
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>
#endif

namespace nibble {

/// A hidden name beside `path` that nothing uses yet, most likely: ".<name>.<tag>-<random>".
[[nodiscard]] inline std::filesystem::path sibling_path(const std::filesystem::path& path,
                                                        std::string_view tag) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::random_device random;
  std::filesystem::path name = ".";
  name += path.filename();
  name += ".";
  name += std::string(tag) + "-";
  std::string suffix;
  for (unsigned bits = random(), i = 0; i < 8; ++i, bits >>= 4) suffix += digits[bits & 15];
  name += suffix;
  return path.parent_path() / name;
}

/// Removes what writers of `path` that were killed left beside it, files and folders. For who knows
/// that nobody else writes it.
inline void remove_partial_siblings(const std::filesystem::path& path) {
  std::error_code ignored;
  const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const auto pattern = sibling_path(path, "partial").filename().native();
  constexpr std::size_t digits = 8;
  std::filesystem::directory_iterator entry(folder, ignored);
  for (; entry != std::filesystem::directory_iterator(); entry.increment(ignored)) {
    const auto name = entry->path().filename().native();
    if (name.size() == pattern.size() &&
        name.compare(0, name.size() - digits, pattern, 0, pattern.size() - digits) == 0) {
      std::filesystem::remove_all(entry->path(), ignored);
    }
  }
}

/// Whether a finished file is also forced to the disk before it gets its name, and then the name.
enum class Sync : bool { no, yes };

/// Writes to a temporary file in the same directory; `commit` gives it the final name, replacing a
/// file of that name. Destroyed without `commit`, it leaves nothing behind and the old file as it
/// was. Every failed operation throws `Error` with the final name and the system's reason.
class OutputFile {
 public:
  /// Creates the temporary file. Throws where that is not possible, or where `path` names
  /// something that is not a regular file.
  explicit OutputFile(std::filesystem::path path) : path_(std::move(path)) {
    std::error_code code;
    const auto status = std::filesystem::status(path_, code);
    if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
      fail(path_text(path_), ": exists and is not a regular file");
    }
    for (int attempt = 0; attempt < 8 && !file_; ++attempt) {
      temporary_ = sibling_path(path_, "partial");
      errno = 0;
      file_.reset(open_new(temporary_));
      if (!file_ && errno != EEXIST) break;
    }
    if (!file_) fail_errno("be created");
  }

  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  ~OutputFile() {
    if (committed_) return;
    file_.reset();
    std::error_code ignored;
    std::filesystem::remove(temporary_, ignored);
  }

  /// The final name.
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

  /// Writes after what was written last.
  void write(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    errno = 0;
    if (std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size()) {
      fail_errno("be written");
    }
    position_ += bytes.size();
  }

  /// Writes from byte `offset` of the file on. A hole left by it reads as zeros.
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    errno = 0;
    // Seeking writes out what the stream has buffered.
    if (offset != position_ && !stdio_file::seek(file_.get(), offset)) fail_errno("be written");
    position_ = offset;
    write(bytes);
  }

  /// Completes the file and gives it its name.
  void commit(Sync sync = Sync::no) {
    errno = 0;
    if (std::fflush(file_.get()) != 0) fail_errno("be written");
    if (sync == Sync::yes && !stdio_file::force_to_disk(file_.get())) fail_errno("be written");
    if (std::fclose(file_.release()) != 0) fail_errno("be written");
    std::error_code code;
    std::filesystem::rename(temporary_, path_, code);
    if (code) {
      fail(path_text(path_), ": cannot be replaced: ", printable(code.message(), 200));
    }
    committed_ = true;
    errno = 0;
    if (sync == Sync::yes && !stdio_file::force_names_to_disk(path_.parent_path())) {
      fail_errno("be forced to the disk under its name");
    }
  }

 private:
#if defined(_WIN32)
  static std::FILE* open_new(const std::filesystem::path& path) {
    return ::_wfsopen(path.c_str(), L"wbx", _SH_DENYWR);
  }
#else
  static std::FILE* open_new(const std::filesystem::path& path) {
    const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0) return nullptr;
    std::FILE* file = ::fdopen(descriptor, "wb");
    if (file == nullptr) {
      ::close(descriptor);
      ::unlink(path.c_str());
    }
    return file;
  }
#endif

  [[noreturn]] void fail_errno(const char* action) const {
    stdio_file::fail_errno(path_, action);
  }

  std::filesystem::path path_, temporary_;
  stdio_file::Stream file_;
  std::uint64_t position_ = 0;
  bool committed_ = false;
};

/// Writes a whole file through `OutputFile`.
inline void write_text_file(const std::filesystem::path& path, std::string_view text,
                            Sync sync = Sync::no) {
  OutputFile file(path);
  file.write(std::as_bytes(std::span<const char>(text)));
  file.commit(sync);
}

}  // namespace nibble
