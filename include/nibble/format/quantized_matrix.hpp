// A packed weight matrix of one format: immutable, owned or borrowed from a mapped file.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <utility>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/core/matrix.hpp>
#include <nibble/format/format.hpp>

namespace nibble {

/// The largest number of rows or columns of a matrix.
inline constexpr Index max_matrix_side = Index{1} << 30;

/// Throws Error where a side is not in 1..2^30.
inline void require_sides(Index rows, Index cols) {
  if (rows < 1 || cols < 1 || rows > max_matrix_side || cols > max_matrix_side) {
    fail("matrix of ", rows, " x ", cols, ": expected sides of 1 to ", max_matrix_side);
  }
}

/// Bytes of a packed matrix. Throws Error where a side is not in 1..2^30, the size overflows, or
/// the format's fields are not what its `make` allows.
template <WeightFormat F>
[[nodiscard]] std::size_t packed_bytes(const F& format, Index rows, Index cols) {
  require_sides(rows, cols);
  static_cast<void>(F::make(format.options()));
  const auto panels = static_cast<std::uint64_t>(divide_up(rows, panel_rows));
  const auto bytes =
      checked_multiply(panels, static_cast<std::uint64_t>(format.layout(cols).panel_bytes));
  if (!bytes || *bytes > static_cast<std::uint64_t>(std::numeric_limits<Index>::max())) {
    fail("matrix of ", rows, " x ", cols, " does not fit in memory");
  }
  return static_cast<std::size_t>(*bytes);
}

/// A matrix of rows() outputs by cols() inputs in the packed layout of F. Copies share the bytes.
template <WeightFormat F>
class QuantizedMatrix {
 public:
  using Format = F;

  /// Takes packed bytes as they are; `owner` keeps them alive. Throws Error where their number is
  /// not packed_bytes(format, rows, cols), or they do not start at a multiple of 64.
  QuantizedMatrix(F format, Index rows, Index cols, std::span<const std::byte> bytes,
                  std::shared_ptr<const void> owner)
      : format_(format), bytes_(bytes), owner_(std::move(owner)) {
    const std::size_t expected = packed_bytes(format, rows, cols);
    if (bytes.size() != expected) {
      fail(F::name, " matrix of ", rows, " x ", cols, ": expected ", expected, " bytes, found ",
           bytes.size());
    }
    if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignment != 0) {
      fail(F::name, " matrix: its bytes do not start at a multiple of ", alignment);
    }
    view_ = {bytes.data(), rows, cols, format.layout(cols)};
  }

  [[nodiscard]] Index rows() const noexcept { return view_.rows; }
  [[nodiscard]] Index cols() const noexcept { return view_.cols; }
  [[nodiscard]] const F& format() const noexcept { return format_; }
  [[nodiscard]] const PanelView& view() const noexcept { return view_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return bytes_; }

  /// The weight that is stored at [row][col].
  [[nodiscard]] float operator()(Index row, Index col) const noexcept {
    assert(row >= 0 && row < rows() && col >= 0 && col < cols());
    return F::value(view_.panel(row / panel_rows), view_.layout, row % panel_rows, col);
  }

  /// Writes the weights of a row, [cols].
  void dequantize_row(Index row, std::span<float> out) const noexcept {
    assert(static_cast<Index>(out.size()) == cols());
    for (Index col = 0; col < cols(); ++col) {
      out[static_cast<std::size_t>(col)] = (*this)(row, col);
    }
  }

  /// All weights, [rows][cols].
  [[nodiscard]] Matrix dequantize() const {
    Matrix weights(rows(), cols());
    for (Index row = 0; row < rows(); ++row) {
      dequantize_row(row, {weights.row(row).data(), static_cast<std::size_t>(cols())});
    }
    return weights;
  }

  /// Stored bits, with scales, offsets and padding, over rows() * cols().
  [[nodiscard]] double bits_per_weight() const noexcept {
    return 8.0 * static_cast<double>(bytes_.size()) /
           (static_cast<double>(rows()) * static_cast<double>(cols()));
  }

 private:
  F format_;
  std::span<const std::byte> bytes_;
  std::shared_ptr<const void> owner_;
  PanelView view_;
};

/// Packs a matrix row by row. Rows of different panels may be set from different threads.
template <WeightFormat F>
class MatrixBuilder {
 public:
  /// Throws Error for sides that packed_bytes refuses.
  MatrixBuilder(F format, Index rows, Index cols)
      : format_(format),
        rows_(rows),
        cols_(cols),
        buffer_(std::make_shared<AlignedBuffer>(packed_bytes(format, rows, cols))),
        layout_(format.layout(cols)) {}

  [[nodiscard]] const PanelLayout& layout() const noexcept { return layout_; }

  /// Each row once.
  void set_row(Index row, const typename F::Row& values) {
    assert(row >= 0 && row < rows_);
    std::byte* panel =
        buffer_->data() + static_cast<std::size_t>(row / panel_rows) * layout_.panel_bytes;
    F::write_row(panel, layout_, row % panel_rows, cols_, values);
  }

  [[nodiscard]] QuantizedMatrix<F> finish() && {
    const std::span<const std::byte> bytes = std::as_const(*buffer_).bytes();
    return {format_, rows_, cols_, bytes, std::move(buffer_)};
  }

 private:
  F format_;
  Index rows_;
  Index cols_;
  std::shared_ptr<AlignedBuffer> buffer_;  // before layout_: its size is checked first
  PanelLayout layout_;
};

}  // namespace nibble
