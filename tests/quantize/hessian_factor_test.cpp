#include "nibble/quantize/hessian_factor.hpp"

#include <algorithm>
#include <limits>

#include "nibble/core/thread_pool.hpp"
#include "quantize/calibrations.hpp"
#include "support/catch.hpp"

using namespace nibble;

namespace {

/// The Hessian in the factor's order, damped.
Eigen::MatrixXd ordered(const Eigen::MatrixXd& hessian, const HessianFactor& factor) {
  Eigen::MatrixXd matrix(hessian.rows(), hessian.cols());
  for (Index i = 0; i < matrix.rows(); ++i) {
    for (Index j = 0; j < matrix.cols(); ++j) {
      matrix(i, j) = hessian(factor.order[static_cast<std::size_t>(i)],
                             factor.order[static_cast<std::size_t>(j)]);
    }
  }
  matrix.diagonal().array() += factor.damping;
  return matrix;
}

}  // namespace

TEST_CASE("the factor's square is the inverse of the damped Hessian", "[hessian_factor]") {
  ThreadPool pool(2);
  for (const Index size : {1, 2, 31, 63, 64, 65, 150, 203}) {
    CAPTURE(size);
    const Eigen::MatrixXd hessian = test::random_hessian(3 * size, size, 9);
    const auto factor = factor_hessian(hessian, quantization_order(hessian, true), 0.01, pool);
    REQUIRE(factor);
    CHECK(factor->damping == Approx(0.01 * hessian.diagonal().mean()));
    CHECK(factor->relative_damping == 0.01);
    const Eigen::MatrixXd inverse =
        Eigen::MatrixXd(factor->halves.triangularView<Eigen::Upper>()).transpose();
    Eigen::MatrixXd lower = factor->halves.triangularView<Eigen::StrictlyLower>();
    lower.diagonal() = inverse.diagonal().cwiseInverse();
    // Sums of up to `size` products, of which the diagonal has the largest.
    const Eigen::MatrixXd matrix = ordered(hessian, *factor);
    CHECK((lower * lower.transpose() - matrix).cwiseAbs().maxCoeff() <
          static_cast<double>(4 * size) * 0x1p-53 * matrix.diagonal().maxCoeff());
    const Eigen::MatrixXd identity = inverse * matrix * inverse.transpose();
    // Condition numbers are below 1 / 0.01 times the size, far from 1 / epsilon.
    CHECK((identity - Eigen::MatrixXd::Identity(size, size)).cwiseAbs().maxCoeff() < 1e-9);
  }
}

TEST_CASE("solving takes the inverse of the damped Hessian", "[hessian_factor]") {
  ThreadPool pool(2);
  for (const Index size : {1, 2, 33, 64, 150}) {
    CAPTURE(size);
    const Eigen::MatrixXd hessian = test::random_hessian(3 * size, size, 12);
    const auto factor = factor_hessian(hessian, quantization_order(hessian, true), 0.01, pool);
    REQUIRE(factor);
    const Eigen::MatrixXd rows = test::random_inputs(37, size, 13).cast<double>();
    const RowTile found = solve(*factor, test::tile_of(rows), kernels<>());
    const Eigen::MatrixXd back = test::rows_of(found, 37) * ordered(hessian, *factor);
    CHECK((back - rows).cwiseAbs().maxCoeff() < 1e-9 * rows.cwiseAbs().maxCoeff());
  }
}

TEST_CASE("act-order goes from the largest diagonal to the smallest", "[hessian_factor]") {
  Eigen::MatrixXd hessian = Eigen::MatrixXd::Zero(4, 4);
  hessian.diagonal() << 2, 5, 0, 3;
  CHECK(quantization_order(hessian, true) == std::vector<Index>{2, 0, 3, 1});  // from the last
  CHECK(quantization_order(hessian, false) == std::vector<Index>{3, 2, 1, 0});
}

TEST_CASE("the factor has the same bits for any number of threads", "[hessian_factor]") {
  const Eigen::MatrixXd hessian = test::random_hessian(400, 200, 10);
  ThreadPool one(1);
  const auto expected = factor_hessian(hessian, quantization_order(hessian, true), 0.01, one);
  for (const int threads : {2, 3}) {
    ThreadPool pool(threads);
    const auto found = factor_hessian(hessian, quantization_order(hessian, true), 0.01, pool);
    CHECK(found->halves == expected->halves);
  }
}

TEST_CASE("damping rises until the matrix is positive definite", "[hessian_factor]") {
  ThreadPool pool(1);
  Eigen::MatrixXd hessian(2, 2);
  hessian << 1, 1.05, 1.05, 1;  // as rounding might leave it, exaggerated
  const auto factor = factor_hessian(hessian, {1, 0}, 0.01, pool);
  REQUIRE(factor);
  CHECK(factor->damping == Approx(0.1));
  CHECK(factor->relative_damping == Approx(0.1));
  hessian << 1, 5, 5, 1;
  CHECK_FALSE(factor_hessian(hessian, {1, 0}, 0.01, pool));
  hessian << 1, std::numeric_limits<double>::quiet_NaN(), 0, 1;
  CHECK_FALSE(factor_hessian(hessian, {1, 0}, 0.01, pool));
  const auto zero = factor_hessian(Eigen::MatrixXd::Zero(3, 3), {2, 1, 0}, 0.01, pool);
  REQUIRE(zero);
  CHECK(zero->halves == Eigen::MatrixXd::Identity(3, 3));
}

TEST_CASE("fewer tokens than inputs leave enough to factor", "[hessian_factor]") {
  ThreadPool pool(2);
  const Eigen::MatrixXd hessian = test::random_hessian(5, 90, 11);
  const auto factor = factor_hessian(hessian, quantization_order(hessian, true), 0.01, pool);
  REQUIRE(factor);
  CHECK(factor->damping == Approx(0.01 * hessian.diagonal().mean()));
}
