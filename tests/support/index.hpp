// Indices of the standard containers.
#pragma once

#include <cstddef>

#include <nibble/core/checked.hpp>

namespace nibble::test {

[[nodiscard]] constexpr std::size_t index(Index i) {
  return static_cast<std::size_t>(i);
}

}  // namespace nibble::test
