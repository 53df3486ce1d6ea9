#include "nibble/quantize/gram.hpp"

#include <cmath>
#include <vector>

#include "nibble/core/matrix.hpp"
#include "nibble/core/thread_pool.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

using namespace nibble;

namespace {

struct Activity {
  Index tokens;
  Index cols;
};

/// In blocks of tokens of different sizes, which must not matter but for rounding.
Eigen::MatrixXd gram_of(const Matrix& x, const Matrix& y, GramKind kind, int threads, Index block) {
  ThreadPool pool(threads);
  Gram gram(kind, x.cols(), kernels<>());
  for (Index first = 0; first < x.rows(); first += block) {
    const Index count = std::min(block, x.rows() - first);
    if (kind == GramKind::Symmetric) {
      gram.add(x.row(first).data(), count, pool);
    } else {
      gram.add(x.row(first).data(), y.row(first).data(), count, pool);
    }
  }
  return std::move(gram).finish();
}

Matrix random_activations(Index tokens, Index cols, unsigned seed) {
  test::Random random(seed);
  const auto values = test::random_floats(random, tokens * cols);
  return view_matrix(values.data(), tokens, cols);
}

/// Products summed in float32 within 1024 tokens: an error below (tokens in a block + 1) units of
/// 2^-24 for each channel pair's sum of absolute products.
void check_close(const Eigen::MatrixXd& found, const Matrix& x, const Matrix& y) {
  const Eigen::MatrixXd exact = x.cast<double>().transpose() * y.cast<double>();
  const Eigen::MatrixXd size =
      x.cast<double>().cwiseAbs().transpose() * y.cast<double>().cwiseAbs();
  const double units = static_cast<double>(std::min(x.rows(), Gram::block_tokens)) + 1;
  CHECK(((found - exact).cwiseAbs().array() <= size.array() * units * 0x1p-24).all());
}

}  // namespace

TEST_CASE("sums of products are those of float64 but for rounding", "[gram]") {
  for (const Activity shape :
       {Activity{1, 1}, {3, 1}, {1, 17}, {5, 16}, {33, 7}, {70, 50}, {1100, 19}, {130, 129}}) {
    CAPTURE(shape.tokens, shape.cols);
    const Matrix x = random_activations(shape.tokens, shape.cols, 3);
    const Matrix y = random_activations(shape.tokens, shape.cols, 4);
    for (const Index block : {shape.tokens, Index{13}}) {
      const Eigen::MatrixXd own = gram_of(x, x, GramKind::Symmetric, 2, block);
      check_close(own, x, x);
      CHECK(own == own.transpose());
      check_close(gram_of(x, y, GramKind::Cross, 2, block), x, y);
    }
  }
}

TEST_CASE("sums of products have the same bits for any number of threads", "[gram]") {
  const Matrix x = random_activations(1050, 75, 5);
  const Matrix y = random_activations(1050, 75, 6);
  for (const GramKind kind : {GramKind::Symmetric, GramKind::Cross}) {
    const Matrix& other = kind == GramKind::Symmetric ? x : y;
    const Eigen::MatrixXd one = gram_of(x, other, kind, 1, 500);
    for (const int threads : {2, 3, 7}) CHECK(gram_of(x, other, kind, threads, 500) == one);
  }
}

TEST_CASE("an input that is not finite shows on the diagonal", "[gram]") {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -1e30F, std::numeric_limits<float>::quiet_NaN()}) {
    Matrix x = random_activations(40, 21, 7);
    x(39, 20) = bad;
    const Eigen::MatrixXd sums = gram_of(x, x, GramKind::Symmetric, 2, 40);
    for (Index i = 0; i < 21; ++i) CHECK(std::isfinite(sums(i, i)) == (i != 20));
  }
}
