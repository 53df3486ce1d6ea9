// The folder that a program writes its reports to.
#pragma once

#include <filesystem>
#include <system_error>

#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>

namespace nibble::example {

/// Refuses a folder that cannot be, before the long work; an empty path is none.
inline void check_output_folder(const std::filesystem::path& folder) {
  std::error_code code;
  if (folder.empty() || std::filesystem::is_directory(folder, code)) return;
  if (std::filesystem::exists(folder, code)) fail(path_text(folder), ": exists and is no folder");
  const auto parent = (std::filesystem::absolute(folder) / "").parent_path().parent_path();
  if (!std::filesystem::is_directory(parent, code)) {
    fail(path_text(folder), ": the folder that it should be in does not exist");
  }
}

/// Makes the folder where it is not there.
inline void make_output_folder(const std::filesystem::path& folder) {
  std::error_code code;
  std::filesystem::create_directory(folder, code);
  if (code) fail(path_text(folder), ": cannot be created: ", code.message());
}

}  // namespace nibble::example
