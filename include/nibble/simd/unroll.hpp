// Loops of a fixed length, written out by the compiler, so that arrays of lanes stay in registers.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

namespace nibble::simd {

/// Calls body(i) for i = 0 to Count - 1, with i a compile-time constant.
template <int Count, class Body>
inline void unroll(Body&& body) noexcept {
  [&]<int... I>(std::integer_sequence<int, I...>) {
    (body(std::integral_constant<int, I>{}), ...);
  }
  (std::make_integer_sequence<int, Count>{});
}

}  // namespace nibble::simd
