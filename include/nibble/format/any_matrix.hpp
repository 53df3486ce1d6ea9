// A packed weight matrix of any format: the variant that is visited once per matmul.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>
#include <variant>

#include <nibble/format/formats.hpp>
#include <nibble/format/quantized_matrix.hpp>

namespace nibble {

/// A QuantizedMatrix of any of the formats. Copies share the bytes.
class AnyMatrix {
 public:
  template <WeightFormat F>
  AnyMatrix(QuantizedMatrix<F> matrix) : matrix_(std::move(matrix)) {}  // implicit on purpose

  /// Calls visitor(const QuantizedMatrix<F>&).
  template <class Visitor>
  decltype(auto) visit(Visitor&& visitor) const {
    return std::visit(std::forward<Visitor>(visitor), matrix_);
  }

  /// Its position in Formats.
  [[nodiscard]] std::size_t format_index() const noexcept { return matrix_.index(); }
  [[nodiscard]] AnyFormat format() const {
    return visit([](const auto& matrix) { return AnyFormat(matrix.format()); });
  }
  [[nodiscard]] const PanelView& view() const noexcept {
    return std::visit([](const auto& matrix) -> const PanelView& { return matrix.view(); },
                      matrix_);
  }
  [[nodiscard]] Index rows() const noexcept { return view().rows; }
  [[nodiscard]] Index cols() const noexcept { return view().cols; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return std::visit([](const auto& matrix) { return matrix.bytes(); }, matrix_);
  }
  [[nodiscard]] float operator()(Index row, Index col) const noexcept {
    return std::visit([&](const auto& matrix) { return matrix(row, col); }, matrix_);
  }
  void dequantize_row(Index row, std::span<float> out) const noexcept {
    std::visit([&](const auto& matrix) { matrix.dequantize_row(row, out); }, matrix_);
  }
  [[nodiscard]] Matrix dequantize() const {
    return visit([](const auto& matrix) { return matrix.dequantize(); });
  }
  [[nodiscard]] double bits_per_weight() const noexcept {
    return std::visit([](const auto& matrix) { return matrix.bits_per_weight(); }, matrix_);
  }

 private:
  Formats::Variant<QuantizedMatrix> matrix_;
};

/// Packed bytes of a matrix of this format.
[[nodiscard]] inline std::size_t packed_bytes(const AnyFormat& format, Index rows, Index cols) {
  return std::visit([&](const auto& value) { return packed_bytes(value, rows, cols); }, format);
}

}  // namespace nibble
