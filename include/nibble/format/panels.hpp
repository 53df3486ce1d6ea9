// The packed layout shared by all formats: panels of 16 output rows, each one sequential stream.
#pragma once

#include <cstddef>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/simd/lanes.hpp>

namespace nibble {

/// The version of the layout, kept in files; readers refuse others.
inline constexpr int layout_version = 1;

/// Output rows in a panel. The last panel of a matrix is filled up with zero bytes.
inline constexpr Index panel_rows = simd::lane_count;

/// Where things are in a panel: a header (scales, offsets), then the codes, padded to 64 bytes.
struct PanelLayout {
  Index group_size = 0;          // inputs that share a scale; `cols` for a whole row
  Index groups = 0;              // per row
  bool has_zeros = false;        // GroupInt: a zero point per group is stored
  std::size_t header_bytes = 0;  // a multiple of 64
  std::size_t panel_bytes = 0;   // header and codes, a multiple of 64
};

/// A packed matrix as kernels see it: pointers and sizes.
struct PanelView {
  const std::byte* data = nullptr;  // [divide_up(rows, 16)][layout.panel_bytes]
  Index rows = 0;
  Index cols = 0;
  PanelLayout layout;

  [[nodiscard]] Index panels() const noexcept { return divide_up(rows, panel_rows); }
  [[nodiscard]] const std::byte* panel(Index index) const noexcept {
    return data + static_cast<std::size_t>(index) * layout.panel_bytes;
  }
  [[nodiscard]] const std::byte* codes(Index index) const noexcept {
    return panel(index) + layout.header_bytes;
  }
};

}  // namespace nibble
