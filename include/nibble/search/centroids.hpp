// Centroids: points of which each stands for the vectors that are nearest to it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include <Eigen/Core>

#include <nibble/core/executor.hpp>
#include <nibble/core/function_ref.hpp>
#include <nibble/core/matrix.hpp>
#include <nibble/kernels/search_kernels.hpp>

namespace nibble {

/// Writes vector `row` of some, wherever they come from; called on any thread.
using LoadVector = FunctionRef<void(Index row, float* vector)>;

/// Where vectors belong.
struct Assignment {
  std::vector<std::uint32_t> centroids;  // the nearest to each vector, of equal ones the first
  /// <vector, centroid> - |centroid|^2 / 2: the more, the nearer.
  std::vector<float> scores;
};

/// Borrows its points, [count][dims].
class Centroids {
 public:
  Centroids(const float* points, Index count, Index dims) : points_{points, count, dims} {
    for (Index i = 0; i < count; ++i) {
      const Eigen::Map<const Eigen::VectorXf> point(points + i * dims, dims);
      half_squares_.push_back(static_cast<float>(point.cast<double>().squaredNorm() / 2));
    }
  }

  [[nodiscard]] Index count() const noexcept { return points_.count; }
  [[nodiscard]] Index dims() const noexcept { return points_.stride; }
  [[nodiscard]] std::span<const float> operator[](Index centroid) const noexcept {
    return {points_.data + centroid * dims(), static_cast<std::size_t>(dims())};
  }

  /// scores[i][j]: how near some vectors, [count][dims()], are to each centroid of a run.
  void score(const float* vectors, Index vector_count, Index first, Index count, float* scores,
             Index stride, const SearchKernels& kernels) const noexcept {
    const FloatRows run{points_.data + first * dims(), count, dims()};
    kernels.dot_products({{vectors, vector_count, dims()}, run, dims(), scores, stride});
    for (Index i = 0; i < vector_count; ++i) {
      for (Index j = 0; j < count; ++j) {
        scores[i * stride + j] -= half_squares_[static_cast<std::size_t>(first + j)];
      }
    }
  }

  /// The nearest centroid of each of `count` vectors; the same for any number of threads.
  [[nodiscard]] Assignment assign(Index vector_count, LoadVector load, ExecutorRef pool,
                                  const SearchKernels& kernels) const {
    constexpr Index vectors_at_once = 64, centroids_at_once = 256;
    Assignment result;
    result.centroids.resize(static_cast<std::size_t>(vector_count));
    result.scores.resize(result.centroids.size(), -std::numeric_limits<float>::infinity());
    struct Scratch {
      std::vector<float> vectors, scores;
    };
    std::vector<Scratch> all_scratch(static_cast<std::size_t>(pool.size()));
    pool.run(divide_up(vector_count, vectors_at_once), [&](Index task, int worker) {
      Scratch& scratch = all_scratch[static_cast<std::size_t>(worker)];
      scratch.vectors.resize(static_cast<std::size_t>(vectors_at_once * dims()));
      scratch.scores.resize(static_cast<std::size_t>(vectors_at_once * centroids_at_once));
      const Index begin = task * vectors_at_once;
      const Index vectors = std::min(vectors_at_once, vector_count - begin);
      for (Index i = 0; i < vectors; ++i) load(begin + i, scratch.vectors.data() + i * dims());
      for (Index first = 0; first < count(); first += centroids_at_once) {
        const Index run = std::min(centroids_at_once, count() - first);
        score(scratch.vectors.data(), vectors, first, run, scratch.scores.data(), centroids_at_once,
              kernels);
        for (Index i = 0; i < vectors; ++i) {
          const float* scores = scratch.scores.data() + i * centroids_at_once;
          const float* best = std::max_element(scores, scores + run);
          const auto vector = static_cast<std::size_t>(begin + i);
          if (*best <= result.scores[vector]) continue;
          result.scores[vector] = *best;
          result.centroids[vector] = static_cast<std::uint32_t>(first + (best - scores));
        }
      }
    });
    return result;
  }

 private:
  FloatRows points_;
  std::vector<float> half_squares_;  // |point|^2 / 2
};

}  // namespace nibble
