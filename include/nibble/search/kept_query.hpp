// KeptQuery: inner products of a query with the vectors that are kept beside the codes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <nibble/kernels/search_kernels.hpp>
#include <nibble/search/index_parameters.hpp>

namespace nibble {

/// A query for re-ranking by kept vectors; borrows it.
class KeptQuery {
 public:
  KeptQuery(std::span<const float> query, const IndexParameters& parameters)
      : query_(query), kept_(parameters.kept) {}

  /// The inner product with a kept vector.
  [[nodiscard]] float product(const std::byte* kept, const SearchKernels& kernels) const noexcept {
    const auto dims = static_cast<Index>(query_.size());
    if (kept_ == KeptVectors::Int8) {
      float scale = 0;
      std::memcpy(&scale, kept, sizeof scale);
      const auto* levels = reinterpret_cast<const std::int8_t*>(kept + sizeof scale);
      return scale * kernels.dot_int8(query_.data(), levels, dims);
    }
    return kernels.dot(query_.data(), reinterpret_cast<const float*>(kept), dims);
  }

 private:
  std::span<const float> query_;
  KeptVectors kept_;
};

}  // namespace nibble
