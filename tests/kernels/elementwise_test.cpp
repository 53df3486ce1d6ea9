#include "nibble/kernels/elementwise.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/kernel_tables.hpp"
#include "support/catch.hpp"
#include "support/index.hpp"
#include "support/isas.hpp"
#include "support/random.hpp"

using namespace nibble;
using test::float_epsilon;
using test::index;

namespace {

/// Calls body(table, size) for every table and length; the lengths cover all rests of 16.
template <class Body>
void for_each_size(Body&& body) {
  for (const KernelTable* table : test::kernel_tables()) {
    CAPTURE(table->isa);
    for (Index size = 1; size <= 100; ++size) {
      CAPTURE(size);
      body(*table, size);
    }
  }
}

}  // namespace

TEST_CASE("rms_norm against float64", "[elementwise]") {
  test::Random random(110);
  for_each_size([&](const KernelTable& table, Index size) {
    const auto input = test::random_floats(random, size, 3.0F);
    const auto weight = test::random_floats(random, size);
    constexpr float epsilon = 1e-5F;
    double squares = 0;
    for (const float x : input) squares += static_cast<double>(x) * x;
    const double inverse = 1 / std::sqrt(squares / static_cast<double>(size) + epsilon);

    std::vector<float> output(index(size) + 1, -1.0F);
    table.rms_norm(input.data(), weight.data(), epsilon, size, output.data());
    // All terms of the mean are positive. A lane has ceil(size / 16) sums, a product that may be
    // rounded apart, 4 sums of the tree, the division and epsilon: the root halves that; then the
    // root, the inverse and two products.
    const double roundings = (static_cast<double>(divide_up(size, Index{16})) + 7) / 2 + 4;
    const double bound = roundings * float_epsilon * (1 + 1e-5);
    int failures = 0;
    for (Index i = 0; i < size; ++i) {
      const double expected = weight[index(i)] * (input[index(i)] * inverse);
      failures += !(std::abs(output[index(i)] - expected) <= bound * std::abs(expected));
    }
    CHECK(failures == 0);
    CHECK(output.back() == -1.0F);

    std::vector<float> in_place = input;
    table.rms_norm(in_place.data(), weight.data(), epsilon, size, in_place.data());
    output.pop_back();
    CHECK(in_place == output);
  });
}

TEST_CASE("rotate against float64", "[elementwise]") {
  test::Random random(111);
  for_each_size([&](const KernelTable& table, Index half) {
    const auto before = test::random_floats(random, 2 * half);
    std::vector<float> cosines;
    std::vector<float> sines;
    for (const float angle : test::random_floats(random, half, 10.0F)) {
      cosines.push_back(std::cos(angle));
      sines.push_back(std::sin(angle));
    }
    std::vector<float> head = before;
    head.push_back(-1.0F);
    table.rotate(head.data(), cosines.data(), sines.data(), 2 * half);
    int failures = 0;
    const auto check = [&failures](float found, double first, double second) {
      // Each of the two products is rounded, and the sum.
      const double bound = 2 * float_epsilon * (1 + 1e-6) * (std::abs(first) + std::abs(second));
      failures += !(std::abs(found - (first + second)) <= bound);
    };
    for (Index i = 0; i < half; ++i) {
      const double low = before[index(i)];
      const double high = before[index(half + i)];
      const double cosine = cosines[index(i)];
      const double sine = sines[index(i)];
      check(head[index(i)], low * cosine, -high * sine);
      check(head[index(half + i)], high * cosine, low * sine);
    }
    CHECK(failures == 0);
    CHECK(head.back() == -1.0F);
  });
}

TEST_CASE("silu_multiply against float64", "[elementwise]") {
  test::Random random(112);
  for_each_size([&](const KernelTable& table, Index size) {
    const auto before = test::random_floats(random, size, size % 2 == 0 ? 2.0F : 80.0F);
    const auto up = test::random_floats(random, size);
    std::vector<float> gate = before;
    gate.push_back(-1.0F);
    table.silu_multiply(gate.data(), up.data(), size);
    int failures = 0;
    for (Index i = 0; i < size; ++i) {
      const double g = before[index(i)];
      const double expected = g / (1 + std::exp(-g)) * up[index(i)];
      // exp is within 2 ULP, 4 roundings; then the sum, the division and the product. Where e^-g
      // is beyond float32 the result is 0 instead of at most |g| e^-88.37.
      const double bound = 7 * float_epsilon * (1 + 1e-5) * std::abs(expected) +
                           (g < -88 ? -g * std::exp(-88.37) * std::abs(up[index(i)]) : 0);
      failures += !(std::abs(gate[index(i)] - expected) <= bound);
    }
    CHECK(failures == 0);
    CHECK(gate.back() == -1.0F);
  });
}

TEST_CASE("silu_multiply of large and other numbers", "[elementwise]") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  for (const KernelTable* table : test::kernel_tables()) {
    CAPTURE(table->isa);
    std::vector<float> gate{1e30F, -1e30F, infinity, nan, 0.0F};
    const std::vector<float> up(5, 2.0F);
    table->silu_multiply(gate.data(), up.data(), 5);
    CHECK(gate[0] == 2e30F);
    CHECK(gate[1] == 0.0F);
    CHECK(gate[2] == infinity);
    CHECK(std::isnan(gate[3]));
    CHECK(gate[4] == 0.0F);
  }
}

TEST_CASE("add is exact to one rounding", "[elementwise]") {
  test::Random random(113);
  for_each_size([&](const KernelTable& table, Index size) {
    const auto before = test::random_floats(random, size);
    const auto addend = test::random_floats(random, size);
    std::vector<float> sum = before;
    sum.push_back(-1.0F);
    table.add(sum.data(), addend.data(), size);
    int failures = 0;
    for (Index i = 0; i < size; ++i) {
      failures += sum[index(i)] != before[index(i)] + addend[index(i)];
    }
    CHECK(failures == 0);
    CHECK(sum.back() == -1.0F);
  });
}
