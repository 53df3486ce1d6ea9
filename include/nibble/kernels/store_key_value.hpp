// Writing a token's key and value into its page.
#pragma once

#include <cstddef>

#include <nibble/kernels/kv_page.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// Writes a token's key and value, [head_dim] each, into place `slot` of a KV head of a page,
/// rounded to the page's type.
template <simd::InstructionSet Isa>
void store_key_value(const float* key, const float* value, const KvPageLayout& layout,
                     std::byte* head, Index slot) noexcept {
  using Floats = simd::Floats<Isa>;
  with_kv_type(layout.type, [&]<class T>(T) {
    auto* keys = reinterpret_cast<T*>(head);
    auto* values = reinterpret_cast<T*>(head + layout.key_bytes()) + slot * layout.padded_dim();
    const auto write = [&](Index d, Index count, const Floats& k, const Floats& v) {
      alignas(alignment) T column[simd::lane_count];
      simd::store_floats<Isa>(k, column);
      for (Index i = 0; i < count; ++i) keys[(d + i) * page_positions + slot] = column[i];
      simd::store_floats<Isa>(v, values + d);
    };
    Index d = 0;
    for (; d + simd::lane_count <= layout.head_dim; d += simd::lane_count) {
      write(d, simd::lane_count, Floats::load(key + d), Floats::load(value + d));
    }
    if (d == layout.head_dim) return;
    alignas(alignment) float key_rest[simd::lane_count] = {};
    alignas(alignment) float value_rest[simd::lane_count] = {};
    const Index rest = layout.head_dim - d;
    for (Index i = 0; i < rest; ++i) key_rest[i] = key[d + i];
    for (Index i = 0; i < rest; ++i) value_rest[i] = value[d + i];
    write(d, rest, Floats::load(key_rest), Floats::load(value_rest));
  });
}

}  // namespace nibble
