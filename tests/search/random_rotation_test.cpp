#include "nibble/search/random_rotation.hpp"

#include <cmath>
#include <vector>

#include "support/catch.hpp"
#include "support/random.hpp"

using namespace nibble;

TEST_CASE("a rotation keeps inner products", "[random_rotation]") {
  test::Random random(45);
  for (const Index dims : {1, 2, 3, 5, 8, 31, 100, 384, 768, 1000}) {
    CAPTURE(dims);
    const RandomRotation rotation(dims, 7);
    CHECK(rotation.dims() == dims);
    auto a = test::random_floats(random, dims), b = test::random_floats(random, dims);
    const auto product = [&] {
      double sum = 0;
      for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
      return sum;
    };
    const auto norm = [](const std::vector<float>& v) {
      double sum = 0;
      for (const float x : v) sum += static_cast<double>(x) * x;
      return std::sqrt(sum);
    };
    const double before = product(), norms = norm(a) * norm(b);
    rotation.apply(a);
    rotation.apply(b);
    // Of each vector: in 3 rounds of up to 2 transforms, log2(dims) sums and the scaling with its
    // rounded factor, each an error relative to the norm.
    const double roundings = 2 * 3 * 2 * (std::log2(static_cast<double>(dims)) + 3);
    CHECK(std::abs(product() - before) <= roundings * 0x1p-24 * norms * (1 + 1e-4));
  }
}

TEST_CASE("a rotation spreads one component over all", "[random_rotation]") {
  for (const Index dims : {96, 100, 512}) {
    for (const Index at : {Index{0}, dims / 2, dims - 1}) {
      CAPTURE(dims, at);
      std::vector<float> vector(static_cast<std::size_t>(dims), 0.0F);
      vector[static_cast<std::size_t>(at)] = 1;
      RandomRotation(dims, 3).apply(vector);
      double fourth = 0;
      for (const float x : vector) fourth += std::pow(x, 4);
      // 3 / dims for a random direction, 1 for a single component.
      CHECK(fourth * static_cast<double>(dims) < 6);
    }
  }
}

TEST_CASE("the same seed gives the same rotation", "[random_rotation]") {
  std::vector<float> a{1, 2, 3, 4, 5}, b = a, c = a;
  RandomRotation(5, 1).apply(a);
  RandomRotation(5, 1).apply(b);
  RandomRotation(5, 2).apply(c);
  CHECK(a == b);
  CHECK(a != c);
}
