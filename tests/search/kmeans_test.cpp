#include "nibble/search/kmeans.hpp"

#include <limits>
#include <vector>

#include <nibble/core/thread_pool.hpp>
#include <nibble/dispatch/dispatch.hpp>

#include "io/io_test_support.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

using namespace nibble;

namespace {

/// Around ten points, more or less.
Matrix clouds(std::uint32_t seed, Index rows, Index dims) {
  test::Random random(seed);
  const auto centres = test::random_floats(random, 10 * dims);
  const auto values = test::random_floats(random, rows * dims);
  Matrix result = view_matrix(values.data(), rows, dims) / 4;
  for (Index i = 0; i < rows; ++i) {
    result.row(i) += view_matrix(centres.data() + i * 7 % 10 * dims, 1, dims);
  }
  return result;
}

/// The squared distance of each vector from its nearest centroid, in float64.
double cost_of(const Matrix& vectors, const Matrix& centroids, std::vector<Index>& nearest) {
  nearest.clear();
  double cost = 0;
  for (Index i = 0; i < vectors.rows(); ++i) {
    const Eigen::RowVectorXd vector = vectors.row(i).cast<double>();
    double best = std::numeric_limits<double>::infinity();
    nearest.push_back(0);
    for (Index c = 0; c < centroids.rows(); ++c) {
      const double distance = (vector - centroids.row(c).cast<double>()).squaredNorm();
      if (distance >= best) continue;
      best = distance;
      nearest.back() = c;
    }
    cost += best;
  }
  return cost;
}

}  // namespace

TEST_CASE("k-means ends near a fixed point of Lloyd's algorithm", "[kmeans]") {
  ThreadPool one(1), three(3);
  const Matrix vectors = clouds(71, 500, 19);
  KMeansOptions options;
  options.clusters = 13;
  options.iterations = 100;
  const Matrix centroids = kmeans(vectors, options, one, {}, dispatch::best_search());
  CHECK(kmeans(vectors, options, three, {}, dispatch::best_search()) == centroids);
  std::vector<Index> nearest;
  cost_of(vectors, centroids, nearest);
  Eigen::MatrixXd sums = Eigen::MatrixXd::Zero(13, 19);
  Eigen::VectorXd counts = Eigen::VectorXd::Zero(13);
  for (Index i = 0; i < 500; ++i) {
    sums.row(nearest[static_cast<std::size_t>(i)]) += vectors.row(i).cast<double>();
    ++counts[nearest[static_cast<std::size_t>(i)]];
  }
  for (Index c = 0; c < 13; ++c) {
    REQUIRE(counts[c] > 0);
    CHECK((sums.row(c) / counts[c] - centroids.row(c).cast<double>()).norm() < 1e-5);
  }
  // More iterations cost less; another seed draws other vectors.
  options.iterations = 1;
  const Matrix early = kmeans(vectors, options, one, {}, dispatch::best_search());
  std::vector<Index> ignored;
  CHECK(cost_of(vectors, early, ignored) > cost_of(vectors, centroids, ignored));
  options.seed = 2;
  CHECK(kmeans(vectors, options, one, {}, dispatch::best_search()) != early);
}

TEST_CASE("vectors belong to the nearest centroid", "[kmeans]") {
  ThreadPool pool(3);
  for (const Index clusters : {1, 2, 300}) {
    const Matrix vectors = clouds(72, 333, 35), points = clouds(73, clusters, 35);
    const auto load = [&](Index i, float* to) { std::copy_n(vectors.row(i).data(), 35, to); };
    const Assignment assigned =
        Centroids(points.data(), clusters, 35).assign(333, load, pool, dispatch::best_search());
    std::vector<Index> nearest;
    cost_of(vectors, points, nearest);
    for (std::size_t i = 0; i < nearest.size(); ++i) {
      const auto row = vectors.row(static_cast<Index>(i)).cast<double>();
      const auto distance = [&](Index c) {
        return (row - points.row(c).cast<double>()).squaredNorm();
      };
      // Equal but for rounding: products of 35 terms, of sizes up to 20.
      CHECK(distance(assigned.centroids[i]) <= distance(nearest[i]) + 1e-4);
    }
  }
}

TEST_CASE("k-means of few and of equal vectors, and what is refused", "[kmeans]") {
  ThreadPool pool(2);
  const SearchKernels& kernels = dispatch::best_search();
  const Matrix vectors = clouds(74, 12, 5);
  KMeansOptions options;
  options.clusters = 12;
  std::vector<Index> nearest;
  CHECK(cost_of(vectors, kmeans(vectors, options, pool, {}, kernels), nearest) < 1e-9);
  const Matrix equal = Matrix::Constant(12, 5, 0.5F);
  CHECK(kmeans(equal, options, pool, {}, kernels) == equal);
  options.clusters = 13;
  REQUIRE_ERROR(kmeans(vectors, options, pool, {}, kernels), "13 clusters, expected 1 to the 12");
  options.clusters = 0;
  REQUIRE_ERROR(kmeans(vectors, options, pool, {}, kernels), "0 clusters");
  options.clusters = 3;
  Matrix broken = vectors;
  broken(7, 2) = std::numeric_limits<float>::quiet_NaN();
  REQUIRE_ERROR(kmeans(broken, options, pool, {}, kernels), "vector 7: is not finite");
  const auto cancel = [](std::string_view, Index, Index) { return false; };
  CHECK_THROWS_AS(kmeans(vectors, options, pool, cancel, kernels), Cancelled);
}
