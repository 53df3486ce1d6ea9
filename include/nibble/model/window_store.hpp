// The activations of all calibration windows: in memory, or in a file with one window at a time.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/io/scratch_file.hpp>

namespace nibble {

/// Some floats for each of a number of windows, which are changed one window at a time.
class WindowStore {
 public:
  /// In memory where `directory` is empty, else in a scratch file there. Throws as ScratchFile.
  WindowStore(Index windows, Index window_floats, const std::filesystem::path& directory)
      : size_(window_floats) {
    if (!directory.empty()) file_.emplace(directory, "activations");
    static_cast<void>(buffer_.make_room<float>((file_ ? 1 : windows) * size_));
  }

  /// A window's floats as they were kept last, [window_floats]; valid until another window's turn.
  [[nodiscard]] float* read(Index window) {
    if (file_ && window != window_) {
      window_ = -1;  // in case that reading fails
      file_->read_at(offset(window), {buffer_.data(), bytes()});
      window_ = window;
    }
    return place(window);
  }

  /// The same with any content, to be overwritten.
  [[nodiscard]] float* overwrite(Index window) {
    window_ = window;
    return place(window);
  }

  /// Keeps what has become of the window that was asked for last.
  void keep(Index window) {
    assert(window == window_ || !file_);
    if (file_) file_->write_at(offset(window), {buffer_.data(), bytes()});
  }

  /// Bytes of memory that such a store takes.
  [[nodiscard]] static std::uint64_t memory(Index windows, Index window_floats, bool on_disk) {
    return static_cast<std::uint64_t>((on_disk ? 1 : windows) * window_floats) * sizeof(float);
  }

 private:
  [[nodiscard]] std::size_t bytes() const noexcept {
    return static_cast<std::size_t>(size_) * sizeof(float);
  }
  [[nodiscard]] std::uint64_t offset(Index window) const noexcept {
    return static_cast<std::uint64_t>(window) * bytes();
  }
  [[nodiscard]] float* place(Index window) noexcept {
    return buffer_.as<float>() + (file_ ? 0 : window * size_);
  }

  Index size_;
  AlignedBuffer buffer_;  // [windows or 1][window_floats]
  std::optional<ScratchFile> file_;
  Index window_ = -1;  // in the buffer, where there is a file
};

}  // namespace nibble
