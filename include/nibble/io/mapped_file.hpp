// MappedFile: a whole file as read-only memory, shared by everything that looks into it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>

#if defined(_WIN32)
#ifndef NOMINMAX
#define NOMINMAX
#endif
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>
#elif defined(__EMSCRIPTEN__)
#include <nibble/io/text_file.hpp>
#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#endif

namespace nibble {

/// A read-only view of a whole file. The operating system loads pages when they are touched; where
/// it has no mappings (WebAssembly) the file is read. The file must not be changed or shortened
/// while the object lives. Hold it through `std::shared_ptr`: every view of its bytes keeps one.
class MappedFile {
 public:
  /// Maps `path`. Throws `Error` where it is missing, a directory or another non-file, unreadable,
  /// empty, or larger than the address space.
  [[nodiscard]] static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path) {
    auto file = std::shared_ptr<MappedFile>(new MappedFile(path));
    file->map();
    return file;
  }

  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() { unmap(); }

  /// The content; its address is aligned to a page.
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }

 private:
  explicit MappedFile(std::filesystem::path path) : path_(std::move(path)) {}

  [[nodiscard]] std::size_t checked_size(std::uint64_t size) const {
    if (size == 0) fail(path_text(path_), ": the file is empty");
    if (size > static_cast<std::uint64_t>(std::numeric_limits<std::ptrdiff_t>::max())) {
      fail(path_text(path_), ": holds ", size, " bytes, too many for this address space");
    }
    return static_cast<std::size_t>(size);
  }

#if defined(_WIN32)
  struct Handle {
    HANDLE value;
    ~Handle() {
      if (value != nullptr && value != INVALID_HANDLE_VALUE) CloseHandle(value);
    }
  };

  [[noreturn]] void fail_system(const char* action) const {
    const std::error_code code(static_cast<int>(GetLastError()), std::system_category());
    fail(path_text(path_), ": cannot ", action, ": ", printable(code.message(), 200));
  }

  void map() {
    std::error_code code;
    if (std::filesystem::is_directory(path_, code)) {
      fail(path_text(path_), ": is a directory, expected a file");
    }
    const Handle file{CreateFileW(path_.c_str(), GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE,
                                  nullptr, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr)};
    if (file.value == INVALID_HANDLE_VALUE) fail_system("open for reading");
    if (GetFileType(file.value) != FILE_TYPE_DISK) fail(path_text(path_), ": not a regular file");
    LARGE_INTEGER length{};
    if (!GetFileSizeEx(file.value, &length)) fail_system("read the size");
    const std::size_t size = checked_size(static_cast<std::uint64_t>(length.QuadPart));
    const Handle mapping{CreateFileMappingW(file.value, nullptr, PAGE_READONLY, 0, 0, nullptr)};
    if (mapping.value == nullptr) fail_system("map");
    const void* address = MapViewOfFile(mapping.value, FILE_MAP_READ, 0, 0, size);
    if (address == nullptr) fail_system("map");
    bytes_ = {static_cast<const std::byte*>(address), size};
  }

  void unmap() noexcept {
    if (!bytes_.empty()) UnmapViewOfFile(bytes_.data());
  }
#elif defined(__EMSCRIPTEN__)
  void map() {
    content_ = read_text_file(path_, std::numeric_limits<std::uint64_t>::max());
    bytes_ = std::as_bytes(std::span<const char>(content_.data(), checked_size(content_.size())));
  }

  void unmap() noexcept {}

  std::string content_;
#else
  struct Descriptor {
    int value;
    ~Descriptor() {
      if (value >= 0) ::close(value);
    }
  };

  [[noreturn]] void fail_system(const char* action) const {
    const std::error_code code(errno, std::generic_category());
    fail(path_text(path_), ": cannot ", action, ": ", code.message());
  }

  void map() {
    // O_NONBLOCK: opening a pipe must not wait for its writer.
    const Descriptor file{::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (file.value < 0 && errno == ENOENT) fail(path_text(path_), ": no such file");
    if (file.value < 0) fail_system("open for reading");
    struct stat status {};
    if (::fstat(file.value, &status) != 0) fail_system("read the size");
    if (S_ISDIR(status.st_mode)) fail(path_text(path_), ": is a directory, expected a file");
    if (!S_ISREG(status.st_mode)) fail(path_text(path_), ": not a regular file");
    const std::size_t size = checked_size(static_cast<std::uint64_t>(status.st_size));
    void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.value, 0);
    if (address == MAP_FAILED) fail_system("map");
    bytes_ = {static_cast<const std::byte*>(address), size};
  }

  void unmap() noexcept {
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
#endif

  std::filesystem::path path_;
  std::span<const std::byte> bytes_;
};

}  // namespace nibble
