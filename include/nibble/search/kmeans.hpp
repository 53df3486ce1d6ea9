// k-means: the points from which vectors have the least squared distance in all.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/progress.hpp>
#include <nibble/core/random.hpp>
#include <nibble/search/centroids.hpp>
#include <nibble/search/sign_codes.hpp>

namespace nibble {

/// How centroids are found.
struct KMeansOptions {
  Index clusters = 0;
  int iterations = 10;
  Index vectors_per_cluster = 128;  // at most so many are looked at, drawn at random
  std::uint64_t seed = 1;
};

namespace kmeans_detail {

/// `count` of the numbers below `size`, in order, each set of them as likely. Source: Knuth, "The
/// Art of Computer Programming", volume 2, section 3.4.2, algorithm S.
[[nodiscard]] inline std::vector<Index> draw(Index size, Index count, Random& random) {
  std::vector<Index> drawn;
  for (Index i = 0; count > 0; ++i) {
    if (static_cast<double>(size - i) * random.uniform() >= static_cast<double>(count)) continue;
    drawn.push_back(i);
    --count;
  }
  return drawn;
}

/// Vectors by centroid: those of centroid c are [begin[c], begin[c + 1]) of `order`, ascending.
struct Groups {
  std::vector<Index> begin, order;
};

[[nodiscard]] inline Groups group(const std::vector<std::uint32_t>& assigned, Index clusters) {
  Groups groups{std::vector<Index>(static_cast<std::size_t>(clusters) + 1),
                std::vector<Index>(assigned.size())};
  for (const std::uint32_t c : assigned) ++groups.begin[c + 1];
  std::partial_sum(groups.begin.begin(), groups.begin.end(), groups.begin.begin());
  std::vector<Index> next(groups.begin.begin(), groups.begin.end() - 1);
  for (std::size_t i = 0; i < assigned.size(); ++i) {
    groups.order[static_cast<std::size_t>(next[assigned[i]]++)] = static_cast<Index>(i);
  }
  return groups;
}

}  // namespace kmeans_detail

/// Lloyd's algorithm from vectors drawn at random, [clusters][dims]. A centroid that no vector is
/// nearest to moves to the vector that is farthest from its own. The same for any number of
/// threads. Throws Error for clusters not in 1..number of vectors, or a vector that is not finite;
/// Cancelled.
[[nodiscard]] inline Matrix kmeans(const Vectors& vectors, const KMeansOptions& options,
                                   ExecutorRef pool, const Progress& progress = {},
                                   const SearchKernels& kernels = search_kernels<>()) {
  const Index dims = vectors.cols(), clusters = options.clusters;
  if (clusters < 1 || clusters > vectors.rows()) {
    fail("k-means: ", clusters, " clusters, expected 1 to the ", vectors.rows(), " vectors");
  }
  Random random(options.seed);
  const Index wanted = clusters <= vectors.rows() / options.vectors_per_cluster
                           ? clusters * options.vectors_per_cluster
                           : vectors.rows();
  const std::vector<Index> sample = kmeans_detail::draw(vectors.rows(), wanted, random);
  const auto vector = [&](Index i) { return vectors.row(sample[static_cast<std::size_t>(i)]); };
  std::vector<float> half_squares(sample.size());
  for (std::size_t i = 0; i < sample.size(); ++i) {
    half_squares[i] = vectors.row(sample[i]).squaredNorm() / 2;
    if (!std::isfinite(half_squares[i])) {
      fail("vector ", sample[i], ": is not finite, or too long for float32");
    }
  }
  const auto load = [&](Index i, float* to) { std::copy_n(vector(i).data(), dims, to); };

  Matrix points(clusters, dims);
  const auto first = kmeans_detail::draw(static_cast<Index>(sample.size()), clusters, random);
  for (Index c = 0; c < clusters; ++c) points.row(c) = vector(first[static_cast<std::size_t>(c)]);
  for (int iteration = 0; iteration < options.iterations; ++iteration) {
    report(progress, "k-means", iteration, options.iterations);
    Assignment assigned = Centroids(points.data(), clusters, dims)
                              .assign(static_cast<Index>(sample.size()), load, pool, kernels);
    const auto groups = kmeans_detail::group(assigned.centroids, clusters);
    pool.run(clusters, [&](Index c, int) {
      const auto at = static_cast<std::size_t>(c);
      if (groups.begin[at] == groups.begin[at + 1]) return;
      Eigen::RowVectorXd sum = Eigen::RowVectorXd::Zero(dims);
      for (Index i = groups.begin[at]; i < groups.begin[at + 1]; ++i) {
        sum += vector(groups.order[static_cast<std::size_t>(i)]).template cast<double>();
      }
      sum /= static_cast<double>(groups.begin[at + 1] - groups.begin[at]);
      points.row(c) = sum.template cast<float>();
    });
    for (std::size_t i = 0; i < half_squares.size(); ++i) assigned.scores[i] -= half_squares[i];
    for (Index c = 0; c < clusters; ++c) {
      const auto at = static_cast<std::size_t>(c);
      if (groups.begin[at] != groups.begin[at + 1]) continue;
      const auto farthest = std::ranges::min_element(assigned.scores);
      *farthest = 0;  // as near as can be: not taken again
      points.row(c) = vector(farthest - assigned.scores.begin());
    }
  }
  report(progress, "k-means", options.iterations, options.iterations);
  return points;
}

}  // namespace nibble
