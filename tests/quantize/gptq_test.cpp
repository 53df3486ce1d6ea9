#include "nibble/quantize/gptq.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include <Eigen/LU>

#include "nibble/core/thread_pool.hpp"
#include "quantize/calibrations.hpp"
#include "support/catch.hpp"
#include "support/matrices.hpp"

using namespace nibble;
using Catch::Matchers::ContainsSubstring;

namespace {

Matrix random_linear(Index rows, Index cols, unsigned seed) {
  test::Random random(seed);
  const auto values = test::random_floats(random, rows * cols, 0.05F);
  return view_matrix(values.data(), rows, cols);
}

CalibratedMatrix gptq(const Matrix& weights, const AnyFormat& format,
                      const Eigen::MatrixXd& hessian, const Gptq& options = {}, int threads = 2) {
  ThreadPool pool(threads);
  return quantize_gptq(weight_source("w", weights), format, {hessian, {}}, options, pool);
}

/// The inputs in the order in which their codes are chosen, and with each what an error of one
/// passes on: row i of the inverse of the damped Hessian of the inputs that are left, divided by
/// its element i. It depends on no weight.
struct Elimination {
  std::vector<Index> order;
  std::vector<Eigen::RowVectorXd> rows;
};

/// As the paper derives it: each input is eliminated from the inverse when its codes are chosen.
Elimination eliminate(const Eigen::MatrixXd& hessian, const Gptq& options) {
  Elimination elimination{quantization_order(hessian, options.act_order), {}};
  std::reverse(elimination.order.begin(), elimination.order.end());
  Eigen::MatrixXd damped = hessian;
  damped.diagonal().array() += options.damping * hessian.diagonal().mean();
  Eigen::MatrixXd inverse = damped.inverse();
  for (const Index input : elimination.order) {
    const Eigen::VectorXd column = inverse.col(input);
    elimination.rows.push_back(inverse.row(input) / inverse(input, input));
    inverse.noalias() -= column * elimination.rows.back();
  }
  return elimination;
}

/// GPTQ as its paper derives it.
template <GridFormat F>
Eigen::MatrixXd reference_weights(const Matrix& weights, const F& format,
                                  const Elimination& elimination, const Gptq& options) {
  using Grid = typename GridOf<F>::Grid;
  const Index rows = weights.rows();
  const Index cols = weights.cols();
  const Index group_size = format.layout(cols).group_size;
  Eigen::MatrixXd left = weights.cast<double>();
  Eigen::MatrixXd result(rows, cols);
  std::vector<std::vector<Grid>> grids(static_cast<std::size_t>(cols));  // by group, then row
  const auto make_grids = [&](Index first) {
    const Index size = std::min(group_size, cols - first);
    auto& of_group = grids[static_cast<std::size_t>(first / group_size)];
    for (Index row = 0; row < rows; ++row) {
      const Eigen::RowVectorXf group = left.row(row).segment(first, size).cast<float>();
      of_group.push_back(
          GridOf<F>::make(format, {group.data(), static_cast<std::size_t>(size)}, "w"));
    }
  };
  if (options.act_order) {
    for (Index first = 0; first < cols; first += group_size) make_grids(first);
  }
  for (std::size_t i = 0; i < elimination.order.size(); ++i) {
    const Index input = elimination.order[i];
    if (!options.act_order && input % group_size == 0) make_grids(input);
    const auto& of_group = grids[static_cast<std::size_t>(input / group_size)];
    for (Index row = 0; row < rows; ++row) {
      const Grid& grid = of_group[static_cast<std::size_t>(row)];
      const auto weight = static_cast<float>(left(row, input));
      result(row, input) = GridOf<F>::value(grid, GridOf<F>::code(grid, weight));
    }
    const Eigen::VectorXd errors = left.col(input) - result.col(input);
    left.noalias() -= errors * elimination.rows[i];
  }
  return result;
}

double error_of(const Eigen::RowVectorXd& difference, const Eigen::MatrixXd& hessian,
                double damping) {
  return (difference * hessian * difference.transpose()).value() +
         damping * difference.squaredNorm();
}

std::vector<AnyFormat> grid_formats() {
  std::vector<AnyFormat> formats;
  for (const AnyFormat& format : test::all_formats()) {
    std::visit(
        [&]<class F>(const F& value) {
          if constexpr (GridFormat<F>) {
            if (!value.options().per_tensor) formats.push_back(format);
          }
        },
        format);
  }
  return formats;
}

struct Size {
  Index rows;
  Index cols;
};

}  // namespace

TEST_CASE("GPTQ is the paper's, for every format and shape", "[gptq]") {
  for (const Size shape : {Size{1, 1}, {3, 5}, {17, 33}, {35, 150}, {5, 300}}) {
    const Matrix weights = random_linear(shape.rows, shape.cols, 1);
    const Eigen::MatrixXd hessian = test::random_hessian(3 * shape.cols, shape.cols, 2);
    for (const bool act_order : {true, false}) {
      const Gptq options{.act_order = act_order};
      const Elimination elimination = eliminate(hessian, options);
      for (const AnyFormat& any_format : grid_formats()) {
        CAPTURE(shape.rows, shape.cols, describe_format(any_format), act_order);
        const CalibratedMatrix found = gptq(weights, any_format, hessian, options);
        const Matrix stored = found.matrix.dequantize();
        const Matrix nearest = [&] {
          ThreadPool pool(1);
          return round_to_nearest(weight_source("w", weights), any_format, pool).dequantize();
        }();
        CHECK(found.matrix.format() == any_format);
        double total = 0;
        double nearest_total = 0;
        Index nearest_rows = 0;
        int failures = 0;
        std::visit(
            [&]<class F>(const F& format) {
              if constexpr (GridFormat<F>) {
                const Eigen::MatrixXd reference =
                    reference_weights(weights, format, elimination, options);
                for (Index row = 0; row < shape.rows; ++row) {
                  const Eigen::RowVectorXd original = weights.row(row).cast<double>();
                  Eigen::RowVectorXd expected = reference.row(row);
                  const double damping = found.report.damping;
                  double error = error_of(expected - original, hessian, damping);
                  const Eigen::RowVectorXd rounded = nearest.row(row).cast<double>();
                  const double rounded_error = error_of(rounded - original, hessian, damping);
                  if (rounded_error * (1 + 1e-9) < error) {
                    ++nearest_rows;
                    expected = rounded;
                    error = rounded_error;
                  }
                  total += error;
                  nearest_total += rounded_error;
                  // Sums are rounded differently; a weight may lie that close to a tie.
                  failures += stored.row(row).cast<double>() != expected;
                }
              }
            },
            any_format);
        CHECK(failures == 0);
        CHECK(found.report.nearest_rows == nearest_rows);
        CHECK(found.report.error == Approx(total).epsilon(1e-6));
        CHECK(found.report.nearest_error == Approx(nearest_total).epsilon(1e-6));
      }
    }
  }
}

TEST_CASE("GPTQ's bytes do not depend on the number of threads", "[gptq]") {
  const Matrix weights = random_linear(83, 150, 3);
  const Eigen::MatrixXd hessian = test::random_hessian(400, 150, 4);
  for (const AnyFormat& format : test::all_formats()) {
    INFO(describe_format(format));
    const AnyMatrix one = gptq(weights, format, hessian, {}, 1).matrix;
    for (const int threads : {2, 3}) {
      const AnyMatrix many = gptq(weights, format, hessian, {}, threads).matrix;
      REQUIRE(one.bytes().size() == many.bytes().size());
      CHECK(std::memcmp(one.bytes().data(), many.bytes().data(), one.bytes().size()) == 0);
    }
  }
}

TEST_CASE("no row is further off than rounded to nearest", "[gptq]") {
  // Few inputs and coarse grids: what is passed on is often clipped.
  Index nearest_rows = 0;
  for (unsigned seed = 0; seed < 10; ++seed) {
    const Matrix weights = random_linear(40, 4, 20 + seed);
    const Eigen::MatrixXd hessian = test::random_hessian(100, 4, 40 + seed);
    const AnyFormat format = GroupInt<2>{0, false};
    ThreadPool pool(1);
    const CalibratedMatrix found = gptq(weights, format, hessian);
    const Matrix stored = found.matrix.dequantize();
    const Matrix nearest = round_to_nearest(weight_source("w", weights), format, pool).dequantize();
    nearest_rows += found.report.nearest_rows;
    CHECK(found.report.error <= found.report.nearest_error * (1 + 1e-9));
    for (Index row = 0; row < weights.rows(); ++row) {
      const Eigen::RowVectorXd original = weights.row(row).cast<double>();
      CHECK(error_of(stored.row(row).cast<double>() - original, hessian, found.report.damping) <=
            error_of(nearest.row(row).cast<double>() - original, hessian, found.report.damping) *
                (1 + 1e-9));
    }
  }
  CHECK(nearest_rows > 0);
}

TEST_CASE("inputs that were always zero are rounded to nearest and move nothing", "[gptq]") {
  const Matrix weights = random_linear(20, 40, 5);
  Matrix inputs = test::random_inputs(100, 40, 6);
  for (const Index dead : {0, 7, 39}) inputs.col(dead).setZero();
  const AnyFormat format = GroupInt<4>{32, true};
  ThreadPool pool(1);
  const Matrix nearest = round_to_nearest(weight_source("w", weights), format, pool).dequantize();
  const Matrix found = gptq(weights, format, test::hessian_of(inputs)).matrix.dequantize();
  for (const Index dead : {0, 7, 39}) CHECK(found.col(dead) == nearest.col(dead));
  CHECK(found != nearest);
  CHECK(gptq(weights, format, Eigen::MatrixXd::Zero(40, 40)).matrix.dequantize() == nearest);
}

TEST_CASE("constant inputs and fewer tokens than inputs are quantized", "[gptq]") {
  const Matrix weights = random_linear(20, 140, 8);
  for (const Matrix& inputs :
       {Matrix(Matrix::Constant(50, 140, 0.7F)), test::random_inputs(3, 140, 9)}) {
    const CalibratedMatrix found = gptq(weights, GroupInt<4>{128, true}, test::hessian_of(inputs));
    CHECK(found.report.damping > 0);
    CHECK(found.report.error < found.report.nearest_error / 2);
    CHECK(found.matrix.dequantize().allFinite());
  }
}

TEST_CASE("a Hessian that cannot be factored leaves round-to-nearest, and says so", "[gptq]") {
  const Matrix weights = random_linear(3, 2, 10);
  Eigen::MatrixXd hessian(2, 2);
  hessian << 1, 5, 5, 1;
  const CalibratedMatrix found = gptq(weights, GroupInt<4>{}, hessian);
  CHECK(found.report.damping == 0);
  CHECK(found.report.nearest_rows == 3);
  ThreadPool pool(1);
  CHECK(found.matrix.dequantize() ==
        round_to_nearest(weight_source("w", weights), GroupInt<4>{}, pool).dequantize());
}

TEST_CASE("weights and inputs that are not finite are refused by name", "[gptq]") {
  Matrix weights = random_linear(20, 40, 11);
  Eigen::MatrixXd hessian = test::random_hessian(100, 40, 12);
  CHECK_THROWS_WITH(gptq(weights, GroupInt<4>{}, test::random_hessian(10, 39, 1)),
                    ContainsSubstring("tensor 'w'") && ContainsSubstring("40 inputs"));
  hessian(17, 17) = std::numeric_limits<double>::infinity();
  for (const AnyFormat& format : test::all_formats()) {
    CHECK_THROWS_WITH(gptq(weights, format, hessian), ContainsSubstring("tensor 'w': input 17"));
  }
  hessian(17, 17) = 1000;
  weights(18, 39) = std::numeric_limits<float>::quiet_NaN();
  for (const AnyFormat& format : test::all_formats()) {
    CHECK_THROWS_WITH(gptq(weights, format, hessian),
                      ContainsSubstring("tensor 'w': weight [18][39]"));
  }
}
