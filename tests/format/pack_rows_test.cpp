#include "nibble/format/pack_rows.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "nibble/core/thread_pool.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

using namespace nibble;
using Catch::Matchers::ContainsSubstring;

TEST_CASE("float formats hold the rounded weights", "[pack_rows]") {
  test::Random random(60);
  const auto values = test::random_floats(random, 37 * 19);
  const Matrix weights = view_matrix(values.data(), 37, 19);
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    const auto check = [&]<class F>(const F& format) {
      const auto matrix = pack_floats(weight_source("w", weights), format, pool);
      int failures = 0;
      for (Index row = 0; row < 37; ++row) {
        for (Index col = 0; col < 19; ++col) {
          const float expected = to_float(from_float<typename F::Element>(weights(row, col)));
          failures += matrix(row, col) != expected;
        }
      }
      CHECK(failures == 0);
    };
    check(Float32Format{});
    check(Float16Format{});
    check(BFloat16Format{});
  }
}

/// Whether weight_source takes such an argument.
template <class T>
concept SourceArgument = requires(T&& matrix) {
  weight_source("part", std::forward<T>(matrix));
};

TEST_CASE("a source reads the rows of a matrix that stays, and takes no temporary",
          "[weight_source]") {
  Matrix whole(4, 3);
  for (Index i = 0; i < whole.size(); ++i) whole.data()[i] = static_cast<float>(i);
  const WeightSource source = weight_source("part", whole);
  CHECK(source.rows == 4);
  CHECK(source.cols == 3);
  std::vector<float> rows(6);
  source.read(2, 2, rows.data());
  CHECK(rows == std::vector<float>{6, 7, 8, 9, 10, 11});

  STATIC_REQUIRE(SourceArgument<const Matrix&>);
  STATIC_REQUIRE(SourceArgument<Eigen::Map<const Matrix>>);
  STATIC_REQUIRE_FALSE(SourceArgument<Matrix>);
  STATIC_REQUIRE_FALSE(SourceArgument<decltype(whole.middleCols(2, 1))>);
}

TEST_CASE("every row is read once", "[pack_rows]") {
  std::vector<std::atomic<int>> reads(50);
  const WeightSource source{"w", 50, 3, [&](Index first, Index count, float* out) {
                              for (Index i = 0; i < count; ++i) {
                                ++reads[static_cast<std::size_t>(first + i)];
                              }
                              std::fill_n(out, count * 3, 1.0F);
                            }};
  ThreadPool pool(3);
  CHECK(pack_floats(source, Float32Format{}, pool).rows() == 50);
  for (const auto& count : reads) CHECK(count == 1);
}

TEST_CASE("weights that are not finite are refused by place", "[pack_rows]") {
  ThreadPool pool(2);
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()}) {
    Matrix weights = Matrix::Zero(40, 7);
    weights(33, 5) = bad;
    CHECK_THROWS_WITH(pack_floats(weight_source("model.norm", weights), BFloat16Format{}, pool),
                      ContainsSubstring("tensor 'model.norm': weight [33][5] is "));
  }
}

TEST_CASE("weights beyond a narrower float are refused by place", "[pack_rows]") {
  ThreadPool pool(1);
  Matrix weights = Matrix::Zero(2, 3);
  const auto source = weight_source("w", weights);
  weights(1, 2) = -65520.0F;
  CHECK_THROWS_WITH(
      pack_floats(source, Float16Format{}, pool),
      ContainsSubstring("tensor 'w': weight [1][2] is -65520") && ContainsSubstring("float16"));
  CHECK(pack_floats(source, BFloat16Format{}, pool).rows() == 2);
  weights(1, 2) = std::nextafter(-65520.0F, 0.0F);
  CHECK(pack_floats(source, Float16Format{}, pool)(1, 2) == -65504.0F);
  weights(1, 2) = std::numeric_limits<float>::max();  // rounds up, out of bfloat16
  CHECK_THROWS_WITH(pack_floats(source, BFloat16Format{}, pool), ContainsSubstring("bfloat16"));
  CHECK(pack_floats(source, Float32Format{}, pool)(1, 2) == std::numeric_limits<float>::max());
}

TEST_CASE("sources of impossible shapes are refused", "[pack_rows]") {
  ThreadPool pool(1);
  const auto never = [](Index, Index, float*) { FAIL("read"); };
  for (const Index side : {Index{0}, Index{-3}, std::numeric_limits<Index>::max()}) {
    CHECK_THROWS_AS(pack_floats({"w", side, 4, never}, Float32Format{}, pool), Error);
    CHECK_THROWS_AS(pack_floats({"w", 4, side, never}, Float32Format{}, pool), Error);
  }
}
