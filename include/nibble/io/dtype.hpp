// Element types and sizes of the tensors in files.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <nibble/core/checked.hpp>

namespace nibble {

/// Element types, named as in the files.
enum class DType : std::uint8_t {
  BOOL,
  U8,
  I8,
  F4,
  F6_E2M3,
  F6_E3M2,
  F8_E4M3,
  F8_E5M2,
  F8_E8M0,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  I64,
  U64,
  F64,
  C64,
};

namespace detail {

struct DTypeEntry {
  std::string_view name;
  unsigned bits;
};

/// In the order of the enumerators.
inline constexpr std::array dtype_table = {
    DTypeEntry{"BOOL", 8},    DTypeEntry{"U8", 8},      DTypeEntry{"I8", 8},
    DTypeEntry{"F4", 4},      DTypeEntry{"F6_E2M3", 6}, DTypeEntry{"F6_E3M2", 6},
    DTypeEntry{"F8_E4M3", 8}, DTypeEntry{"F8_E5M2", 8}, DTypeEntry{"F8_E8M0", 8},
    DTypeEntry{"I16", 16},    DTypeEntry{"U16", 16},    DTypeEntry{"F16", 16},
    DTypeEntry{"BF16", 16},   DTypeEntry{"I32", 32},    DTypeEntry{"U32", 32},
    DTypeEntry{"F32", 32},    DTypeEntry{"I64", 64},    DTypeEntry{"U64", 64},
    DTypeEntry{"F64", 64},    DTypeEntry{"C64", 64},
};
static_assert(dtype_table.size() == static_cast<std::size_t>(DType::C64) + 1);

}  // namespace detail

/// "F16", "BF16", ...
[[nodiscard]] constexpr std::string_view dtype_name(DType type) noexcept {
  return detail::dtype_table[static_cast<std::size_t>(type)].name;
}

/// Bits of one element; F4 and the F6 types do not fill bytes.
[[nodiscard]] constexpr unsigned dtype_bits(DType type) noexcept {
  return detail::dtype_table[static_cast<std::size_t>(type)].bits;
}

/// The type of that name, if there is one.
[[nodiscard]] constexpr std::optional<DType> find_dtype(std::string_view name) noexcept {
  for (std::size_t i = 0; i < detail::dtype_table.size(); ++i) {
    if (detail::dtype_table[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

/// Most dimensions of a tensor.
inline constexpr std::size_t tensor_rank_limit = 8;

/// A shape as "[2, 3]".
[[nodiscard]] inline std::string shape_text(std::span<const Index> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + "]";
}

/// Bytes of a tensor; nothing where they overflow or do not come out whole.
[[nodiscard]] inline std::optional<std::uint64_t> tensor_bytes(DType type,
                                                               std::span<const Index> shape) {
  // An empty tensor is empty whatever its other dimensions multiply to.
  if (std::ranges::find(shape, 0) != shape.end()) return 0;
  std::uint64_t bits = dtype_bits(type);
  for (const Index size : shape) {
    const auto product = checked_multiply(bits, static_cast<std::uint64_t>(size));
    if (!product) return std::nullopt;
    bits = *product;
  }
  if (bits % 8 != 0) return std::nullopt;
  return bits / 8;
}

}  // namespace nibble
