// Vectors for tests of search.
#pragma once

#include <cstdint>

#include <nibble/core/matrix.hpp>

#include "support/random.hpp"

namespace nibble::test {

/// Normally distributed, [rows][dims].
[[nodiscard]] inline Matrix random_vectors(std::uint32_t seed, Index rows, Index dims) {
  Random random(seed);
  const auto values = random_floats(random, rows * dims);
  return view_matrix(values.data(), rows, dims);
}

}  // namespace nibble::test
