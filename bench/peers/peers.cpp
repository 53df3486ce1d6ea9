// nibble-peers: our side of the comparison with other libraries. Times Linear layers on demand, so
// that another program can take turns with it; see compare.py.
//
// A line on stdin, "FORMAT ROWS COLS TOKENS", is answered with a line on stdout: the seconds of a
// forward pass, the packing of its inputs included, on one thread; or with "error: ...".
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <tuple>

#include <nibble/core/random.hpp>
#include <nibble/core/thread_pool.hpp>
#include <nibble/dispatch/dispatch.hpp>
#include <nibble/nn/linear.hpp>

#include "common/random_tensors.hpp"
#include "common/report.hpp"

namespace {

using namespace nibble;
using namespace nibble::example;

/// A layer with inputs and outputs of its own.
class TimedLinear {
 public:
  TimedLinear(const std::string& format, Index rows, Index cols, Index tokens, ThreadPool& pool)
      : linear_(random_matrix(make_format(format), rows, cols, 1, pool)),
        inputs_(tokens, cols),
        outputs_(tokens, rows) {
    Random random(2);
    for (Index i = 0; i < inputs_.size(); ++i) {
      inputs_.data()[i] = static_cast<float>(2 * random.uniform() - 1);
    }
  }

  /// Seconds of one pass: the mean over some milliseconds.
  [[nodiscard]] double seconds(ThreadPool& pool) {
    constexpr double least_seconds = 0.03;
    const Execution execution{dispatch::best(), pool};
    const auto forward = [&] {
      input_.assign(inputs_.data(), inputs_.rows(), inputs_.cols(), inputs_.cols());
      linear_.forward(input_, execution, outputs_.data(), outputs_.cols());
    };
    forward();
    int passes = 0;
    const Stopwatch stopwatch;
    double total = 0;
    for (; total < least_seconds; total = stopwatch.seconds(), ++passes) forward();
    return total / passes;
  }

 private:
  Linear linear_;
  LinearInput input_;
  Matrix inputs_, outputs_;
};

}  // namespace

int main() {
  ThreadPool pool(1);
  std::map<std::tuple<std::string, Index, Index, Index>, TimedLinear> layers;
  std::cout << dispatch::best().isa << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    try {
      std::istringstream words(line);
      std::string format;
      Index rows = 0, cols = 0, tokens = 0;
      if (!(words >> format >> rows >> cols >> tokens) || tokens < 1) {
        fail("expected FORMAT ROWS COLS TOKENS, found '", line, "'");
      }
      require_sides(rows, cols);
      const auto [place, is_new] =
          layers.try_emplace({format, rows, cols, tokens}, format, rows, cols, tokens, pool);
      std::cout << place->second.seconds(pool) << std::endl;
    } catch (const std::exception& error) {
      std::cout << "error: " << error.what() << std::endl;
    }
  }
}
