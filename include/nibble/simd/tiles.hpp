// Registers that hold matrices of bytes, and the product of two of them.
#pragma once

#include <cstdint>
#include <type_traits>

#include <nibble/simd/isa.hpp>

namespace nibble::simd {

/// Rows of a tile, and 32-bit numbers in a row.
inline constexpr int tile_side = 16;
/// Bytes in a row.
inline constexpr int tile_row_bytes = 64;

/// The number of a tile register, 0 to 7.
template <int Number>
using Tile = std::integral_constant<int, Number>;

/// Sets up the calling thread's tiles until it calls release_tiles, for products over `depth`
/// inputs, 32 or 64: tiles 0 to 3 as sums [16][16] of int32, tile 4 as inputs [16][depth], tiles 5
/// to 7 as weights [depth / 4][16][4]; all zero at first.
template <TileInstructionSet Isa>
inline void configure_tiles(int depth) noexcept {
  configure_tiles(Isa{}, depth, Isa{});
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
template <TileInstructionSet Isa, int Number>
inline void store_tile(Tile<Number> tile, std::int32_t* data) noexcept {
  store_tile(Isa{}, tile, data, Isa{});
}
/// sums += inputs * weights, of signed bytes; exact modulo 2^32.
template <TileInstructionSet Isa, int Sums, int Inputs, int Weights>
inline void multiply_tiles(Tile<Sums> sums, Tile<Inputs> inputs, Tile<Weights> weights) noexcept {
  multiply_tiles(Isa{}, sums, inputs, weights, Isa{});
}

}  // namespace nibble::simd
