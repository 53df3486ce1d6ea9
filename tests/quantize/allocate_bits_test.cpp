#include "nibble/quantize/allocate_bits.hpp"

#include <limits>
#include <string>

#include "support/catch.hpp"
#include "support/random.hpp"

namespace nibble {
namespace {

using Costs = std::vector<std::vector<FormatCost>>;

struct Total {
  std::uint64_t bytes = 0;
  double loss = 0;
};

Total total(const Costs& costs, const std::vector<std::size_t>& choice) {
  Total sum;
  for (std::size_t m = 0; m < costs.size(); ++m) {
    sum.bytes += costs[m][choice[m]].bytes;
    sum.loss += costs[m][choice[m]].loss;
  }
  return sum;
}

/// The least loss within the budget, by trying everything; infinite where nothing fits.
double least_loss(const Costs& costs, std::uint64_t budget) {
  double least = std::numeric_limits<double>::infinity();
  std::vector<std::size_t> choice(costs.size(), 0);
  for (;;) {
    const Total sum = total(costs, choice);
    if (sum.bytes <= budget) least = std::min(least, sum.loss);
    std::size_t m = 0;
    while (m < costs.size() && ++choice[m] == costs[m].size()) choice[m++] = 0;
    if (m == costs.size()) return least;
  }
}

TEST_CASE("bytes go where they gain most", "[allocate_bits]") {
  const Costs costs{{{10, 8}, {20, 1}}, {{10, 8}, {20, 6}}, {{10, 0}, {20, 0}}};
  CHECK(allocate_bits(costs, 30) == std::vector<std::size_t>{0, 0, 0});
  CHECK(allocate_bits(costs, 39) == std::vector<std::size_t>{0, 0, 0});
  CHECK(allocate_bits(costs, 40) == std::vector<std::size_t>{1, 0, 0});
  CHECK(allocate_bits(costs, 50) == std::vector<std::size_t>{1, 1, 0});
  CHECK(allocate_bits(costs, 1000) == std::vector<std::size_t>{1, 1, 0});
  // What takes more and loses more is never chosen, in any order.
  CHECK(allocate_bits(Costs{{{30, 2}, {10, 3}, {20, 4}, {20, 1}, {20, 1}}}, 100) ==
        std::vector<std::size_t>{3});
  CHECK(allocate_bits(Costs{}, 0).empty());
}

TEST_CASE("a budget is kept, and the loss is within one step of the least", "[allocate_bits]") {
  test::Random random(1);
  for (int round = 0; round < 60; ++round) {
    Costs costs(5);
    double largest_step = 0;
    std::uint64_t smallest = 0;
    std::uint64_t largest = 0;
    for (auto& matrix : costs) {
      const int size = test::random_integer(random, 1, 30);
      FormatCost cost{0, 1000.0 * size};
      std::uint64_t most = 0;
      std::uint64_t fewest = std::numeric_limits<std::uint64_t>::max();
      double worst = 0;
      double best = std::numeric_limits<double>::infinity();
      for (int format = 0; format < 5; ++format) {
        cost.bytes = static_cast<std::uint64_t>(size * (5 + 2 * format) +
                                                test::random_integer(random, 0, 9));
        cost.loss *= 0.01 * test::random_integer(random, 10, 110);
        matrix.push_back(cost);
        most = std::max(most, cost.bytes);
        fewest = std::min(fewest, cost.bytes);
        worst = std::max(worst, cost.loss);
        best = std::min(best, cost.loss);
      }
      largest_step = std::max(largest_step, worst - best);
      smallest += fewest;
      largest += most;
    }
    for (std::uint64_t budget = smallest; budget < largest + 20; budget += 13) {
      const Total found = total(costs, allocate_bits(costs, budget));
      const double least = least_loss(costs, budget);
      CHECK(found.bytes <= budget);
      CHECK(found.loss >= least);
      CHECK(found.loss <= least + largest_step);
      if (budget >= largest) CHECK(found.loss == Approx(least));
    }
  }
}

TEST_CASE("a budget below the smallest formats is refused", "[allocate_bits]") {
  const Costs costs{{{10, 8}, {20, 1}}, {{7, 8}}};
  CHECK_NOTHROW(allocate_bits(costs, 17));
  CHECK_THROWS_WITH(allocate_bits(costs, 16),
                    Catch::Matchers::ContainsSubstring("budget of 16 bytes is too small: the "
                                                       "smallest formats take 17"));
}

TEST_CASE("formats of infinite loss are never chosen", "[allocate_bits]") {
  const double infinite = std::numeric_limits<double>::infinity();
  const Costs costs{{{10, infinite}, {15, 4}, {30, infinite}, {40, 1}}, {{5, 3}, {6, infinite}}};
  CHECK(allocate_bits(costs, 20) == std::vector<std::size_t>{1, 0});
  CHECK(allocate_bits(costs, 44) == std::vector<std::size_t>{1, 0});
  CHECK(allocate_bits(costs, 45) == std::vector<std::size_t>{3, 0});
  CHECK_THROWS_WITH(allocate_bits(costs, 19),
                    Catch::Matchers::ContainsSubstring("smallest formats take 20"));
  const Costs none{{{10, 1}}, {{5, infinite}}};
  CHECK_THROWS_WITH(allocate_bits(none, 100),
                    Catch::Matchers::ContainsSubstring("matrix 1 has no format of finite loss"));
}

}  // namespace
}  // namespace nibble
