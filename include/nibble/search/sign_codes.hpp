// Sign bits: binary quantization in the byte layout of sentence-transformers and numpy.packbits.
#pragma once

#include <cstdint>
#include <span>

#include <Eigen/Core>

#include <nibble/core/checked.hpp>
#include <nibble/core/matrix.hpp>

namespace nibble {

/// Owned bytes [rows][cols].
using ByteMatrix = Eigen::Matrix<std::uint8_t, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Vectors that are read: [rows][cols], the cols of a row one after the other.
using Vectors = Eigen::Ref<const Matrix, 0, Eigen::OuterStride<>>;

/// Bytes that a bit for each dimension takes.
[[nodiscard]] constexpr Index sign_bytes(Index dims) noexcept {
  return divide_up(dims, Index{8});
}

/// Writes a bit for each component to bits[sign_bytes(size)]: 1 where it is above 0 (so 0 for zero
/// and NaN), dimension 0 at the most significant bit of byte 0, zeros beyond the last. The
/// precision "ubinary" of sentence-transformers, `bit` strings of pgvector, IndexBinaryFlat's codes
/// as numpy.packbits makes them.
inline void pack_signs(std::span<const float> vector, std::uint8_t* bits) noexcept {
  const std::size_t whole = vector.size() / 8;
  const auto pack = [&](std::size_t byte, std::size_t count) {
    unsigned packed = 0;
    for (std::size_t i = 0; i < count; ++i) {
      packed |= static_cast<unsigned>(vector[8 * byte + i] > 0) << (7 - i);
    }
    bits[byte] = static_cast<std::uint8_t>(packed);
  };
  for (std::size_t byte = 0; byte < whole; ++byte) pack(byte, 8);
  if (vector.size() % 8 != 0) pack(whole, vector.size() % 8);
}

/// The sign bits of every row, [rows][sign_bytes(cols)].
[[nodiscard]] inline ByteMatrix pack_signs(const Vectors& vectors) {
  ByteMatrix bits(vectors.rows(), sign_bytes(vectors.cols()));
  for (Index i = 0; i < vectors.rows(); ++i) {
    pack_signs({vectors.row(i).data(), static_cast<std::size_t>(vectors.cols())},
               bits.row(i).data());
  }
  return bits;
}

/// A byte of the precision "ubinary" as one of "binary": less 128.
[[nodiscard]] constexpr std::int8_t to_binary(std::uint8_t ubinary) noexcept {
  return static_cast<std::int8_t>(ubinary - 128);
}

/// The inverse of `to_binary`.
[[nodiscard]] constexpr std::uint8_t to_ubinary(std::int8_t binary) noexcept {
  return static_cast<std::uint8_t>(binary + 128);
}

}  // namespace nibble
