#include "nibble/kernels/outer_products.hpp"

#include <cmath>
#include <vector>

#include "kernels/kernel_tables.hpp"
#include "support/catch.hpp"
#include "support/index.hpp"
#include "support/isas.hpp"
#include "support/random.hpp"

using namespace nibble;
using test::index;

namespace {

constexpr Index lanes = simd::lane_count;

std::vector<double> random_doubles(test::Random& random, Index count) {
  const auto floats = test::random_floats(random, count);
  return {floats.begin(), floats.end()};
}

}  // namespace

TEST_CASE("gram_tile against float64", "[outer_products]") {
  test::Random random(120);
  for (const KernelTable* table : test::kernel_tables()) {
    const Index width = table->gram_width;
    for (const Index tokens : {0, 1, 2, 37, 300}) {
      CAPTURE(table->isa, tokens);
      const auto x = test::random_floats(random, tokens * lanes);
      const auto y = test::random_floats(random, tokens * width);
      const auto before = random_doubles(random, width * lanes + 1);
      auto sums = before;
      table->gram_tile(x.data(), y.data(), tokens, sums.data());
      int failures = 0;
      for (Index j = 0; j < width; ++j) {
        for (Index i = 0; i < lanes; ++i) {
          double expected = 0;
          double size = 0;
          for (Index token = 0; token < tokens; ++token) {
            const double product =
                double{x[index(token * lanes + i)]} * y[index(token * width + j)];
            expected += product;
            size += std::abs(product);
          }
          const Index place = j * lanes + i;
          const double found = sums[index(place)] - before[index(place)];
          // A rounding for each product and each sum, and those of float64.
          const double bound = static_cast<double>(tokens + 1) * test::float_epsilon * size +
                               std::abs(before[index(place)]) * 0x1p-51;
          failures += !(std::abs(found - expected) <= bound);
        }
      }
      CHECK(failures == 0);
      CHECK(sums.back() == before.back());
    }
  }
}

TEST_CASE("add_outer_products against long sums", "[outer_products]") {
  test::Random random(121);
  for (const KernelTable* table : test::kernel_tables()) {
    for (const Index count : {0, 1, 5, 32}) {
      for (const Index size : {0, 1, 2, 3, 11, 12, 13, 40, 101}) {
        CAPTURE(table->isa, count, size);
        const auto matrix = random_doubles(random, count * (size + 3));
        std::vector<const double*> vectors;
        for (Index k = 0; k < count; ++k) vectors.push_back(matrix.data() + k * (size + 3));
        const auto values = random_doubles(random, count * lanes);
        const auto before = random_doubles(random, size * lanes + 1);
        auto sums = before;
        table->add_outer_products(vectors.data(), values.data(), count, size, sums.data());
        int failures = 0;
        for (Index i = 0; i < size; ++i) {
          for (Index lane = 0; lane < lanes; ++lane) {
            long double expected = before[index(i * lanes + lane)];
            long double total = std::abs(expected);
            for (Index k = 0; k < count; ++k) {
              const long double product =
                  static_cast<long double>(vectors[index(k)][i]) * values[index(k * lanes + lane)];
              expected += product;
              total += std::abs(product);
            }
            // A rounding for each product and each sum, and room for those of this sum.
            const long double bound = static_cast<long double>(count + 2) * 0x1p-53L * total;
            failures += !(std::abs(sums[index(i * lanes + lane)] - expected) <= bound);
          }
        }
        CHECK(failures == 0);
        CHECK(sums.back() == before.back());
      }
    }
  }
}
