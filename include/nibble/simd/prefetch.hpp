// Asking for memory before it is needed.
#pragma once

#include <nibble/simd/isa.hpp>

namespace nibble::simd {

/// How far ahead of its use a sequential stream is asked for, in bytes: further than the latency of
/// memory at a core's share of bandwidth, and well within the L1 cache.
inline constexpr int prefetch_distance = 2048;

/// Starts to load the cache line at an address, which may be any.
template <InstructionSet Isa>
inline void prefetch(const void* address) noexcept {
  prefetch(Isa{}, address, Isa{});
}

/// `Isa` is passed for its type alone.
template <InstructionSet Isa>
inline void prefetch(Portable, const void*, Isa) noexcept {}

}  // namespace nibble::simd
