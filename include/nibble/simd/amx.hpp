// The tiles of AMX.
#pragma once

#include <nibble/simd/isa.hpp>

#if defined(NIBBLE_HAS_AMX)

#include <immintrin.h>

#include <cstdint>

#include <nibble/simd/avx512bf16.hpp>
#include <nibble/simd/tiles.hpp>

// The intrinsics of g++ 12 do not say that a load reads memory, so that stores before it may be
// moved behind it. These do.

namespace nibble::simd {

template <TileInstructionSet Isa>
inline void configure_tiles(Amx, int tokens, int bytes, Isa) noexcept {
  struct {
    std::uint8_t palette = 1;
    std::uint8_t start_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t row_bytes[16] = {};
    std::uint8_t rows[16] = {};
  } config;
  static_assert(sizeof config == 64);
  for (int tile = 0; tile < 8; ++tile) {
    config.rows[tile] = static_cast<std::uint8_t>(tile < 5 ? tokens : bytes / 4);
    config.row_bytes[tile] = static_cast<std::uint16_t>(tile == 4 ? bytes : tile_row_bytes);
  }
  asm volatile("ldtilecfg %0" : : "m"(config));
}
template <TileInstructionSet Isa>
inline void release_tiles(Amx, Isa) noexcept {
  asm volatile("tilerelease");
}

template <TileInstructionSet Isa, int Number>
inline void zero_tile(Amx, Tile<Number>, Isa) noexcept {
  asm volatile("tilezero %%tmm%c0" : : "i"(Number));
}
template <TileInstructionSet Isa, int Number>
inline void load_tile(Amx, Tile<Number>, const void* data, std::int64_t stride, Isa) noexcept {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(data), "r"(stride), "i"(Number) : "memory");
}
template <TileInstructionSet Isa, int Number>
inline void store_tile(Amx, Tile<Number>, void* data, Isa) noexcept {
  constexpr std::int64_t stride = tile_row_bytes;
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(data), "r"(stride), "i"(Number) : "memory");
}
template <TileInstructionSet Isa, int Sums, int Inputs, int Weights>
inline void multiply_bytes(Amx, Tile<Sums>, Tile<Inputs>, Tile<Weights>, Isa) noexcept {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sums), "i"(Inputs), "i"(Weights));
}
template <TileInstructionSet Isa, int Sums, int Inputs, int Weights>
inline void multiply_pairs(Amx, Tile<Sums>, Tile<Inputs>, Tile<Weights>, Isa) noexcept {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(Sums), "i"(Inputs), "i"(Weights));
}

}  // namespace nibble::simd

#endif
