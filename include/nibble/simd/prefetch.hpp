// Asking for memory before it is used.
#pragma once

#include <cstddef>

#include <nibble/simd/isa.hpp>

namespace nibble::simd {

/// Bytes that come from memory together.
inline constexpr int cache_line = 64;

/// How far ahead of its use a sequential stream is asked for, in bytes: further than the latency of
/// memory at a core's share of bandwidth.
inline constexpr int prefetch_distance = 2560;

/// Brings a cache line that will be read after some thousand cycles near, as far as the second
/// level, where as many lines can be under way as the machine has room for. Any address will do.
template <InstructionSet Isa>
inline void prefetch(const void* address) noexcept {
  prefetch(Isa{}, address, Isa{});
}

template <InstructionSet Isa>
inline void prefetch(Portable, const void*, Isa) noexcept {}

/// Asks for `bytes` of a sequential stream, prefetch_distance behind `at`.
template <InstructionSet Isa>
inline void prefetch_ahead(const void* at, std::size_t bytes) noexcept {
  const std::byte* ahead = static_cast<const std::byte*>(at) + prefetch_distance;
  for (std::size_t line = 0; line < bytes; line += cache_line) prefetch<Isa>(ahead + line);
}

}  // namespace nibble::simd
