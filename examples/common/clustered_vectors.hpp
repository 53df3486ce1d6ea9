// Made vectors that lie in clusters, as embeddings do: for benches without a corpus.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>

#include <nibble/core/executor.hpp>
#include <nibble/core/matrix.hpp>
#include <nibble/core/random.hpp>

namespace nibble::example {

/// [rows][dims], of length 1. A row is the centre of one of `clusters` and a deviation of the same
/// expected length, both normally distributed with variances that fall as 1 / (1 + i / 64) over the
/// dimensions i, plus a mean that all share. Row i depends on its number, `first` + i, alone.
[[nodiscard]] inline Matrix clustered_vectors(Index rows, Index dims, Index clusters,
                                              std::uint64_t seed, ExecutorRef pool,
                                              Index first = 0) {
  const auto fill = [&](std::uint64_t stream, auto row) {
    Random random(seed * 0x100000000ULL + stream);
    for (Index i = 0; i < dims; ++i) {
      // Box and Muller's transform.
      const double length = std::sqrt(-2 * std::log(1 - random.uniform()));
      const double normal = length * std::cos(2 * std::numbers::pi * random.uniform());
      row[i] += static_cast<float>(normal / std::sqrt(1 + static_cast<double>(i) / 64));
    }
  };
  Matrix centres = Matrix::Zero(clusters + 1, dims);
  for (Index c = 0; c <= clusters; ++c) fill(static_cast<std::uint64_t>(c), centres.row(c));
  Matrix vectors(rows, dims);
  constexpr Index run = 256;
  pool.run(divide_up(rows, run), [&](Index task, int) {
    for (Index i = task * run; i < std::min(rows, (task + 1) * run); ++i) {
      const auto stream = static_cast<std::uint64_t>(clusters + 1 + first + i);
      Random random(stream);
      const auto cluster = static_cast<Index>(random.next() % static_cast<std::uint64_t>(clusters));
      vectors.row(i) = centres.row(clusters) + centres.row(cluster);
      fill(stream, vectors.row(i));
      vectors.row(i).normalize();
    }
  });
  return vectors;
}

}  // namespace nibble::example
