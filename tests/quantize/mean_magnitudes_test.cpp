#include "nibble/quantize/mean_magnitudes.hpp"

#include <cmath>

#include "nibble/core/thread_pool.hpp"
#include "quantize/calibrations.hpp"
#include "support/catch.hpp"

using namespace nibble;

TEST_CASE("mean magnitudes are those of all tokens, whatever the blocks and threads",
          "[mean_magnitudes]") {
  for (const Index cols : {1, 63, 150}) {
    CAPTURE(cols);
    const Matrix inputs = test::random_inputs(37, cols, 1);
    Eigen::VectorXd first;
    for (const int threads : {1, 2, 3}) {
      ThreadPool pool(threads);
      MeanMagnitudes magnitudes(cols);
      magnitudes.add(inputs.data(), 20, pool);
      magnitudes.add(inputs.data() + 20 * cols, 17, pool);
      if (threads == 1) first = magnitudes.mean();
      CHECK(magnitudes.mean() == first);
    }
    for (Index col = 0; col < cols; ++col) {
      double sum = 0;
      for (Index token = 0; token < 37; ++token) sum += std::abs(double{inputs(token, col)});
      CHECK(first[col] == sum / 37);  // added up in the same order
    }
  }
  CHECK(MeanMagnitudes(3).mean() == Eigen::VectorXd::Zero(3));
}
