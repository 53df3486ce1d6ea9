// KeptQuery: inner products of a query with the vectors that are kept beside the codes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <nibble/kernels/search_kernels.hpp>
#include <nibble/search/index_parameters.hpp>

namespace nibble {

/// A query for re-ranking by kept vectors: of int8 levels n, <q, minimum + step (n + 128)> is a
/// product with the levels and a sum that all rows share.
class KeptQuery {
 public:
  KeptQuery(std::span<const float> query, const IndexParameters& parameters)
      : weights_(query.begin(), query.end()), kept_(parameters.kept) {
    if (kept_ != KeptVectors::Int8) return;
    double offset = 0;
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      const double step = parameters.steps[i];
      offset += query[i] * (parameters.minima[i] + 128 * step);
      weights_[i] = query[i] * parameters.steps[i];
    }
    offset_ = static_cast<float>(offset);
  }

  /// The inner product with a kept vector.
  [[nodiscard]] float product(const std::byte* kept, const SearchKernels& kernels) const noexcept {
    const auto dims = static_cast<Index>(weights_.size());
    if (kept_ == KeptVectors::Int8) {
      return offset_ +
             kernels.dot_int8(weights_.data(), reinterpret_cast<const std::int8_t*>(kept), dims);
    }
    return kernels.dot(weights_.data(), reinterpret_cast<const float*>(kept), dims);
  }

 private:
  std::vector<float> weights_;
  KeptVectors kept_;
  float offset_ = 0;
};

}  // namespace nibble
