// IndexParameters: how an index keeps vectors, fitted to some of them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/executor.hpp>
#include <nibble/core/progress.hpp>
#include <nibble/search/kmeans.hpp>
#include <nibble/search/random_rotation.hpp>
#include <nibble/search/sign_codes.hpp>

namespace nibble {

/// The vectors that are kept beside the codes, to re-rank with. Int8: each with a scale of its own,
/// its largest magnitude / 127, so that nothing depends on other vectors.
enum class KeptVectors : std::uint8_t { None, Int8, Float32 };
inline constexpr std::array<std::string_view, 3> kept_vectors_names{"none", "int8", "float32"};

/// Most lists of an index.
inline constexpr Index max_lists = Index{1} << 20;

/// How an index keeps a vector; the same for all of its rows.
struct IndexParameters {
  Index dims = 0;
  /// Of a code's component, 1 to 8: RaBitQ with two corrections; 0: the plain sign bits, with none.
  int code_bits = 1;
  std::uint64_t seed = 1;  // of RaBitQ's rotation
  KeptVectors kept = KeptVectors::Int8;
  std::vector<float> centre;  // [dims] with RaBitQ, else empty
  /// [lists][dims] or empty: vectors lie in the list of the nearest centroid, and RaBitQ's codes
  /// are relative to it, not to the centre. Rotated as RaBitQ rotates vectors, where codes are its.
  std::vector<float> centroids;

  /// 0: vectors are in no lists.
  [[nodiscard]] Index lists() const noexcept {
    return dims > 0 ? static_cast<Index>(centroids.size()) / dims : 0;
  }

  friend bool operator==(const IndexParameters&, const IndexParameters&) = default;
};

/// Parameters without lists, whose centre is the mean of these vectors, [n][dims]; plain sign bits
/// have none. Throws Error where there are none, or one is not finite.
[[nodiscard]] inline IndexParameters fit_index(const Vectors& vectors, int code_bits,
                                               KeptVectors kept, std::uint64_t seed = 1) {
  if (vectors.rows() == 0) fail("index: fitted to no vectors, expected at least one");
  for (Index i = 0; i < vectors.rows(); ++i) {
    if (!vectors.row(i).allFinite()) fail("index: fitted to vector ", i, ", which is not finite");
  }
  IndexParameters parameters{vectors.cols(), code_bits, seed, kept, {}, {}};
  if (code_bits > 0) {
    const Eigen::RowVectorXd mean = vectors.cast<double>().colwise().mean();
    for (const double value : mean) parameters.centre.push_back(static_cast<float>(value));
  }
  return parameters;
}

/// Gives parameters, fitted to such vectors, so many lists: the centroids are found by k-means with
/// the seed of the parameters. An index of n vectors is searched fastest with about the root of n
/// lists to four times that. Throws Error where there are fewer vectors than lists, or they do not
/// fit the parameters; Cancelled.
[[nodiscard]] inline IndexParameters with_lists(IndexParameters parameters, const Vectors& vectors,
                                                Index lists, ExecutorRef pool,
                                                const Progress& progress = {},
                                                const SearchKernels& kernels = search_kernels<>()) {
  if (vectors.cols() != parameters.dims) {
    fail("lists: vectors of ", vectors.cols(), " dimensions, expected ", parameters.dims);
  }
  if (lists < 1 || lists > std::min(vectors.rows(), max_lists)) {
    fail("lists: expected 1 to ", std::min(vectors.rows(), max_lists), ", found ", lists);
  }
  KMeansOptions options;
  options.clusters = lists;
  options.seed = parameters.seed;
  Matrix centroids = kmeans(vectors, options, pool, progress, kernels);
  if (parameters.code_bits > 0) {
    const RandomRotation rotation(parameters.dims, parameters.seed);
    pool.run(lists, [&](Index list, int) {
      rotation.apply({centroids.row(list).data(), static_cast<std::size_t>(parameters.dims)});
    });
  }
  parameters.centroids.assign(centroids.data(), centroids.data() + centroids.size());
  return parameters;
}

}  // namespace nibble
