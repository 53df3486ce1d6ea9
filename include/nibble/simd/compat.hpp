// The one place that knows how xsimd 8.1's spelling differs from that of its later versions.
#pragma once

#include <cstdint>

#include <xsimd/xsimd.hpp>

namespace nibble::simd::compat {

/// The same bits as another element type of the same size.
template <class To, class From, class Arch>
[[nodiscard]] inline xsimd::batch<To, Arch> bitwise_cast(
    const xsimd::batch<From, Arch>& value) noexcept {
#if XSIMD_VERSION_MAJOR < 11
  return xsimd::bitwise_cast<xsimd::batch<To, Arch>>(value);
#else
  return xsimd::bitwise_cast<To>(value);
#endif
}

}  // namespace nibble::simd::compat
