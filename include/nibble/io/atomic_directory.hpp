// AtomicDirectory: a folder, mostly of a model, that appears under its name only when it is
// complete.
#pragma once

#include <cerrno>
#include <filesystem>
#include <string_view>
#include <system_error>

#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/output_file.hpp>
#include <nibble/io/stdio_file.hpp>

namespace nibble {

/// What to do with a folder that is already there.
enum class Existing : bool { refuse, replace };

/// Folders that may be replaced: flat, with a file of one name, and one of another name or
/// extension.
struct FolderKind {
  std::string_view what, name, name_or_extension;
};
inline constexpr FolderKind model_folder{"model folder", "config.json", ".safetensors"};

/// Files are written into `path()`, a hidden folder beside the final one; `commit` renames it.
/// Destroyed without `commit`, it removes what was written. A program that is killed leaves
/// ".<name>.partial-<random>" behind, which nothing reads and which may be deleted.
class AtomicDirectory {
 public:
  /// Creates the working folder. Throws `Error` where the parent is missing or not writable, where
  /// `final_path` exists and `existing` is `refuse`, or where it exists and is neither empty nor of
  /// that kind.
  explicit AtomicDirectory(const std::filesystem::path& final_path,
                           Existing existing = Existing::refuse, FolderKind kind = model_folder)
      : existing_(existing), kind_(kind) {
    std::error_code code;
    final_ = std::filesystem::absolute(final_path, code).lexically_normal();
    if (!final_.has_filename()) final_ = final_.parent_path();  // "out/"
    if (final_path.empty() || !final_.has_filename()) {
      fail(in_quotes(path_text(final_path)), ": not the name of a folder to write");
    }
    check_existing();
    if (!std::filesystem::is_directory(final_.parent_path(), code)) {
      fail(path_text(final_.parent_path()), ": no such directory");
    }
    for (int attempt = 0; attempt < 8; ++attempt) {
      work_ = sibling_path(final_, "partial");
      if (std::filesystem::create_directory(work_, code)) return;
      if (code) break;
    }
    fail(path_text(final_), ": cannot be created: ", printable(code.message(), 200));
  }

  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  ~AtomicDirectory() {
    std::error_code ignored;
    if (!committed_) std::filesystem::remove_all(work_, ignored);
  }

  /// Where to write.
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return work_; }

  /// Where it will be.
  [[nodiscard]] const std::filesystem::path& final_path() const noexcept { return final_; }

  /// Gives the folder its name; a folder that it replaces is moved aside first, moved back if the
  /// renaming fails, and then deleted. With Sync::yes, the name is on the disk when it returns.
  /// Throws `Error`.
  void commit(Sync sync = Sync::no) {
    check_existing();
    std::error_code code;
    std::filesystem::path former;
    if (std::filesystem::exists(std::filesystem::symlink_status(final_, code))) {
      former = sibling_path(final_, "replaced");
      std::filesystem::rename(final_, former, code);
      if (code) fail(path_text(final_), ": cannot be replaced: ", printable(code.message(), 200));
    }
    std::filesystem::rename(work_, final_, code);
    if (code) {
      std::error_code ignored;
      if (!former.empty()) std::filesystem::rename(former, final_, ignored);
      fail(path_text(final_), ": cannot be created: ", printable(code.message(), 200));
    }
    committed_ = true;
    errno = 0;
    if (sync == Sync::yes && !stdio_file::force_names_to_disk(final_.parent_path())) {
      stdio_file::fail_errno(final_, "be forced to the disk under its name");
    }
    if (former.empty()) return;
    std::filesystem::remove_all(former, code);
    if (code) {
      fail(path_text(final_),
           ": is complete, but the folder that it replaced cannot be deleted: ", path_text(former),
           ": ", printable(code.message(), 200));
    }
  }

 private:
  void check_existing() const {
    std::error_code code;
    if (!std::filesystem::exists(std::filesystem::symlink_status(final_, code))) return;
    if (existing_ == Existing::refuse) fail(path_text(final_), ": exists already");
    if (!std::filesystem::is_directory(final_, code)) {
      fail(path_text(final_), ": exists and is not a folder");
    }
    bool empty = true, name = false, other = false;
    std::filesystem::directory_iterator entry(final_, code);
    for (; !code && entry != std::filesystem::directory_iterator(); entry.increment(code)) {
      empty = false;
      if (entry->is_directory(code)) {
        fail(path_text(final_), ": not replaced, since it holds a folder of its own, ",
             in_quotes(path_text(entry->path().filename())));
      }
      const auto& found = entry->path();
      name = name || found.filename() == kind_.name;
      other = other || found.filename() == kind_.name_or_extension ||
              found.extension() == kind_.name_or_extension;
    }
    if (code) fail(path_text(final_), ": cannot be read: ", printable(code.message(), 200));
    if (!empty && !(name && other)) {
      const bool extension = kind_.name_or_extension.starts_with('.');
      fail(path_text(final_), ": not replaced, since it is no ", kind_.what, " (expected ",
           kind_.name, " and ", extension ? "a " : "", kind_.name_or_extension,
           extension ? " file)" : ")");
    }
  }

  Existing existing_;
  FolderKind kind_;
  std::filesystem::path final_, work_;
  bool committed_ = false;
};

}  // namespace nibble
