// Registers that hold matrices of bytes, and the product of two of them.
#pragma once

#include <cstdint>
#include <type_traits>

#include <nibble/simd/lanes.hpp>

namespace nibble::simd {

/// Rows of a tile, and 32-bit numbers in a row.
inline constexpr int tile_side = 16;
/// Bytes in a row.
inline constexpr int tile_row_bytes = 64;

/// The number of a tile register, 0 to 7.
template <int Number>
using Tile = std::integral_constant<int, Number>;

/// Sets up the calling thread's tiles until it calls release_tiles, for products of `tokens` tokens
/// (1 to 16) over inputs of `bytes` bytes (32 or 64) each: tiles 0 to 3 as sums [tokens][16] of
/// 32-bit numbers, tile 4 as inputs [tokens][bytes], tiles 5 to 7 as weights [bytes / 4][16][4];
/// all zero at first.
template <TileInstructionSet Isa>
inline void configure_tiles(int tokens, int bytes) noexcept {
  configure_tiles(Isa{}, tokens, bytes, Isa{});
}
template <TileInstructionSet Isa>
inline void release_tiles() noexcept {
  release_tiles(Isa{}, Isa{});
}

template <TileInstructionSet Isa, int Number>
inline void zero_tile(Tile<Number> tile) noexcept {
  zero_tile(Isa{}, tile, Isa{});
}
/// Rows are `stride` bytes apart.
template <TileInstructionSet Isa, int Number>
inline void load_tile(Tile<Number> tile, const void* data, std::int64_t stride) noexcept {
  load_tile(Isa{}, tile, data, stride, Isa{});
}
/// Rows side by side.
template <TileInstructionSet Isa, int Number>
inline void store_tile(Tile<Number> tile, void* data) noexcept {
  store_tile(Isa{}, tile, data, Isa{});
}
/// sums += inputs * weights, of signed bytes; exact modulo 2^32.
template <TileInstructionSet Isa, int Sums, int Inputs, int Weights>
inline void multiply_bytes(Tile<Sums> sums, Tile<Inputs> inputs, Tile<Weights> weights) noexcept {
  multiply_bytes(Isa{}, sums, inputs, weights, Isa{});
}
/// sums += inputs * weights, of bfloat16 pairs, with the roundings of float32: even and odd inputs
/// are summed apart and then together. Subnormal numbers count as zero.
template <TileInstructionSet Isa, int Sums, int Inputs, int Weights>
inline void multiply_pairs(Tile<Sums> sums, Tile<Inputs> inputs, Tile<Weights> weights) noexcept {
  multiply_pairs(Isa{}, sums, inputs, weights, Isa{});
}

}  // namespace nibble::simd
