// How the keys and values of 64 positions lie in a page of the KV cache.
#pragma once

#include <array>
#include <cstddef>
#include <limits>
#include <string_view>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/half.hpp>
#include <nibble/simd/lanes.hpp>

namespace nibble {

/// The type in which keys and values are kept; they are rounded to it before any use.
enum class KvType { Float32, Float16, BFloat16 };
inline constexpr std::array<std::string_view, 3> kv_type_names{"float32", "float16", "bfloat16"};

[[nodiscard]] constexpr std::string_view kv_type_name(KvType type) noexcept {
  return kv_type_names[static_cast<std::size_t>(type)];
}

/// Throws Error for another name than those of kv_type_names.
[[nodiscard]] inline KvType parse_kv_type(std::string_view name) {
  for (std::size_t i = 0; i < kv_type_names.size(); ++i) {
    if (name == kv_type_names[i]) return static_cast<KvType>(i);
  }
  fail("unknown KV type '", name, "'; expected float32, float16 or bfloat16");
}

/// The largest head dimension that a model may have.
inline constexpr Index max_head_dim = 1024;

/// Positions in a page; page p holds positions 64 p to 64 p + 63.
inline constexpr Index page_positions = 64;

/// A page: for each layer and KV head, keys [head_dim][64], then values [64][padded head_dim].
struct KvPageLayout {
  KvType type = KvType::Float16;
  Index layers = 0;
  Index heads = 0;  // KV heads
  Index head_dim = 0;

  /// Elements of a position's value, a whole number of lanes.
  [[nodiscard]] constexpr Index padded_dim() const noexcept {
    return round_up(head_dim, Index{simd::lane_count});
  }
  [[nodiscard]] constexpr std::size_t element_bytes() const noexcept {
    return type == KvType::Float32 ? 4 : 2;
  }
  [[nodiscard]] constexpr std::size_t key_bytes() const noexcept {
    return static_cast<std::size_t>(head_dim * page_positions) * element_bytes();
  }
  [[nodiscard]] constexpr std::size_t head_bytes() const noexcept {
    return key_bytes() + static_cast<std::size_t>(padded_dim() * page_positions) * element_bytes();
  }
  [[nodiscard]] constexpr std::size_t page_bytes() const noexcept {
    return head_bytes() * static_cast<std::size_t>(layers * heads);
  }
  /// Whether page_bytes() is exact, which a 32-bit machine's sizes may not allow.
  [[nodiscard]] constexpr bool fits_in_memory() const noexcept {
    const double bytes = static_cast<double>(head_dim + padded_dim()) * page_positions *
                         static_cast<double>(element_bytes()) * static_cast<double>(layers) *
                         static_cast<double>(heads);
    return bytes <= static_cast<double>(std::numeric_limits<Index>::max());
  }
  /// Where in a page a layer's head begins: its keys, and key_bytes() later its values.
  [[nodiscard]] constexpr std::size_t head_offset(Index layer, Index head) const noexcept {
    return head_bytes() * static_cast<std::size_t>(layer * heads + head);
  }
  friend bool operator==(const KvPageLayout&, const KvPageLayout&) = default;
};

/// Calls body(T{}) with the element type of a page.
template <class Body>
decltype(auto) with_kv_type(KvType type, Body&& body) {
  switch (type) {
    case KvType::Float32:
      return body(float{});
    case KvType::BFloat16:
      return body(BFloat16{});
    case KvType::Float16:
      break;
  }
  return body(Float16{});
}

}  // namespace nibble
