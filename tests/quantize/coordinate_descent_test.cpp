#include "nibble/quantize/coordinate_descent.hpp"

#include <vector>

#include "nibble/core/thread_pool.hpp"
#include "nibble/quantize/gptq.hpp"
#include "quantize/calibrations.hpp"
#include "support/catch.hpp"
#include "support/matrices.hpp"

using namespace nibble;

namespace {

template <GridFormat F>
Eigen::VectorXd errors_of(const Eigen::MatrixXd& target, const Eigen::MatrixXd& hessian,
                          double damping, const PanelLayout& layout,
                          const std::vector<GridRow<F>>& rows) {
  Eigen::MatrixXd difference = -target;
  for (Index row = 0; row < target.rows(); ++row) {
    for (Index col = 0; col < target.cols(); ++col) {
      difference(row, col) += rows[static_cast<std::size_t>(row)].value(layout, col);
    }
  }
  return (difference * hessian).cwiseProduct(difference).rowwise().sum() +
         damping * difference.rowwise().squaredNorm();
}

template <GridFormat F>
void check_descent(const F& format, Index rows, Index cols) {
  ThreadPool pool(1);
  const Matrix weights = test::random_inputs(rows, cols, 30);
  const Eigen::MatrixXd target = weights.cast<double>();
  const Eigen::MatrixXd hessian = test::random_hessian(2 * cols, cols, 31);
  const auto factor = factor_hessian(hessian, quantization_order(hessian, true), 0.01, pool);
  const PanelLayout layout = format.layout(cols);
  std::vector<GridRow<F>> codes;
  for (Index row = 0; row < rows; ++row) {
    const std::span<const float> values(weights.row(row).data(), static_cast<std::size_t>(cols));
    codes.push_back(nearest_row<F>(
        values, layout,
        make_grids<F>(values, layout, [&](std::size_t, std::span<const float> group) {
          return GridOf<F>::make(format, group, "w");
        })));
  }
  CoordinateDescent<F> descent(test::tile_of(target), hessian, *factor, layout, codes);
  const auto exact = [&] { return errors_of<F>(target, hessian, factor->damping, layout, codes); };
  Eigen::VectorXd before = exact();
  CHECK(descent.errors().head(rows).isApprox(before, 1e-9));
  for (int step = 0; step < 40; ++step) {
    if (step % 2 == 0) {
      descent.refit_scales();
    } else {
      descent.sweep();
    }
    const Eigen::VectorXd after = exact();
    CHECK((after.array() <= before.array() * (1 + 1e-9)).all());
    CHECK(descent.errors().head(rows).isApprox(after, 1e-6));
    before = after;
  }
  descent.sweep();
  descent.sweep();
  // Now no other code next to a code is better.
  before = exact();
  int failures = 0;
  for (Index row = 0; row < rows; ++row) {
    for (Index col = 0; col < cols; ++col) {
      std::uint8_t& code =
          codes[static_cast<std::size_t>(row)].codes[static_cast<std::size_t>(col)];
      const std::uint8_t kept = code;
      for (const int step : {-1, 1}) {
        if (kept + step < 0 || kept + step > F::max_code) continue;
        code = static_cast<std::uint8_t>(kept + step);
        failures += !(exact()[row] >= before[row] * (1 - 1e-9));
        code = kept;
      }
    }
  }
  CHECK(failures == 0);
}

}  // namespace

TEST_CASE("every step of the descent lowers the error, down to where no step does",
          "[coordinate_descent]") {
  check_descent(GroupInt<4>{32, true}, 19, 70);
  check_descent(GroupInt<3>{0, false}, 3, 33);
  check_descent(GroupInt<2>{64, true}, 2, 1);
  check_descent(ZeroOneInt8{32, false}, 2, 40);
}

TEST_CASE("a scale is fitted to its codes", "[coordinate_descent]") {
  ThreadPool pool(1);
  const GroupInt<4> format{0, false};
  const PanelLayout layout = format.layout(4);
  const Eigen::MatrixXd hessian = test::random_hessian(20, 4, 33);
  const auto factor = factor_hessian(hessian, {0, 1, 2, 3}, 0.01, pool);
  // Multiples of 0.375 that are stored with a scale of 0.5.
  std::vector<GridRow<GroupInt<4>>> rows{{{1, 9, 15, 4}, {{to_float16(0.5F), 8, 0.5F}}}};
  Eigen::MatrixXd target(1, 4);
  target << -7, 1, 7, -4;
  target *= 0.375;
  CoordinateDescent<GroupInt<4>> descent(test::tile_of(target), hessian, *factor, layout, rows);
  descent.refit_scales();
  CHECK(to_float(rows[0].grids[0].scale) == 0.375F);
  CHECK(descent.errors()[0] == Approx(0).margin(1e-9));
}

TEST_CASE("the best method's bytes do not depend on the number of threads",
          "[coordinate_descent]") {
  const Matrix weights = test::random_inputs(70, 90, 34);
  const Eigen::MatrixXd seen = test::random_inputs(300, 90, 35).cast<double>();
  const Eigen::MatrixXd exact = seen + 0.1 * test::random_inputs(300, 90, 36).cast<double>();
  const InputStatistics statistics{seen.transpose() * seen, seen.transpose() * exact};
  for (const AnyFormat& format : test::all_formats()) {
    INFO(describe_format(format));
    const auto run = [&](int threads) {
      ThreadPool pool(threads);
      return quantize_gptq(weight_source("w", weights), format, statistics,
                           {.search_grids = true, .correction = 1, .refinements = 2}, pool);
    };
    const CalibratedMatrix one = run(1);
    CHECK(one.report.error <= one.report.nearest_error * (1 + 1e-9));
    for (const int threads : {2, 3}) {
      CHECK(std::ranges::equal(run(threads).matrix.bytes(), one.matrix.bytes()));
    }
  }
}

TEST_CASE("correction without the float model's inputs is refused", "[coordinate_descent]") {
  ThreadPool pool(1);
  const Matrix weights = test::random_inputs(3, 5, 37);
  CHECK_THROWS_WITH(quantize_gptq(weight_source("w", weights), GroupInt<4>{},
                                  {test::random_hessian(9, 5, 1), {}}, {.correction = 1}, pool),
                    Catch::Matchers::ContainsSubstring("tensor 'w'"));
}
