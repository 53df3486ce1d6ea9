#include "nibble/quantize/clip_search.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "quantize/calibrations.hpp"
#include "support/catch.hpp"

using namespace nibble;

TEST_CASE("clipped grids are those with which a group's share of the outputs, run, is nearest",
          "[clip_search]") {
  for (const AnyFormat& any_format : test::row_grid_formats()) {
    for (const Index cols : {1, 33, 150}) {
      CAPTURE(describe_format(any_format), cols);
      const Matrix weights = test::random_weights(5, cols, 1);
      const Eigen::MatrixXd inputs = test::random_inputs(60, cols, 2).cast<double>();
      std::visit(
          [&]<class F>(const F& format) {
            if constexpr (GridFormat<F>) {
              const auto found = search_clips(weights, format, inputs.transpose() * inputs, "w");
              const PanelLayout layout = format.layout(cols);
              REQUIRE(found.size() == 5);
              for (Index row = 0; row < 5; ++row) {
                const auto& grids = found[static_cast<std::size_t>(row)];
                REQUIRE(static_cast<Index>(grids.size()) == layout.groups);
                for (Index group = 0; group < layout.groups; ++group) {
                  const Index first = group * layout.group_size;
                  const Index size = std::min(layout.group_size, cols - first);
                  const Eigen::VectorXf values = weights.row(row).segment(first, size);
                  const auto error = [&](const typename GridOf<F>::Grid& grid) {
                    Eigen::VectorXd change(size);
                    for (Index i = 0; i < size; ++i) {
                      change[i] = double{GridOf<F>::value(grid, GridOf<F>::code(grid, values[i]))} -
                                  double{values[i]};
                    }
                    return (inputs.middleCols(first, size) * change).squaredNorm();
                  };
                  double least = std::numeric_limits<double>::infinity();
                  for (int step = 20; step >= 10; --step) {
                    const float end = values.cwiseAbs().maxCoeff() * static_cast<float>(step) / 20;
                    const Eigen::VectorXf clipped = values.cwiseMin(end).cwiseMax(-end);
                    least = std::min(
                        least, error(GridOf<F>::make(
                                   format, {clipped.data(), static_cast<std::size_t>(size)}, "w")));
                  }
                  CHECK(error(grids[static_cast<std::size_t>(group)]) ==
                        Approx(least).epsilon(1e-9).margin(1e-20));
                }
              }
            }
          },
          any_format);
    }
  }
}
