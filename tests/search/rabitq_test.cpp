#include "nibble/search/rabitq.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "io/io_test_support.hpp"
#include "nibble/kernels/search_kernels.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

using namespace nibble;

namespace {

double exact_product(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

std::int32_t code_distance(const RaBitQ& rabitq, const RaBitQQuery& query,
                           const std::vector<std::uint8_t>& code) {
  std::int32_t distance = 0;
  search_kernels<simd::Generic>().hamming_distances({{query.data(), 1, 0, query.bits},
                                                     {code.data(), 1, 0, rabitq.bits()},
                                                     sign_bytes(rabitq.dims()),
                                                     &distance,
                                                     1});
  return distance;
}

}  // namespace

TEST_CASE("estimates are without bias, and closer with every bit", "[rabitq]") {
  test::Random random(47);
  constexpr Index dims = 200;
  constexpr int seeds = 200;
  const auto centre = test::random_floats(random, dims);
  const auto vector = test::random_floats(random, dims), query = test::random_floats(random, dims);
  std::vector<float> o = vector, q = query;
  for (std::size_t i = 0; i < o.size(); ++i) {
    o[i] -= centre[i];
    q[i] -= centre[i];
  }
  const double norms = std::sqrt(exact_product(o, o) * exact_product(q, q));
  RaBitQ::Scratch scratch;
  for (int bits = 1; bits <= 6; ++bits) {
    CAPTURE(bits);
    double mean = 0, squares = 0;
    for (int seed = 0; seed < seeds; ++seed) {
      const RaBitQ rabitq(centre, bits, static_cast<std::uint64_t>(seed));
      std::vector<std::uint8_t> code(static_cast<std::size_t>(rabitq.code_bytes()));
      const RaBitQCorrection correction = rabitq.encode(vector, code.data(), scratch);
      const RaBitQQuery ready = rabitq.encode_query(query, 8);
      const std::int32_t distance = code_distance(rabitq, ready, code);
      const double error =
          rabitq.inner_product(ready, correction, distance) - exact_product(query, vector);
      mean += error / norms / seeds;
      squares += error * error / norms / norms / seeds;
    }
    const double deviation = std::sqrt(squares);
    CHECK(std::abs(mean) < 4 * deviation / std::sqrt(static_cast<double>(seeds)));
    // The squared sine of vector and code, see odd_levels_test.cpp, over dims; the query's own
    // code of 8 bits adds little.
    const double least[] = {0.363, 0.119, 0.0374, 0.0115, 0.0035, 0.00104};
    const double sine = least[bits - 1] / (1 - least[bits - 1]);
    CHECK(deviation < 1.3 * std::sqrt((sine + 0.0002) / static_cast<double>(dims)));
  }
}

TEST_CASE("the centre itself, and what is refused", "[rabitq]") {
  const std::vector<float> centre{1, 2, 3};
  const RaBitQ rabitq(centre, 2, 1);
  RaBitQ::Scratch scratch;
  std::vector<std::uint8_t> code(2);
  const RaBitQCorrection correction = rabitq.encode(centre, code.data(), scratch);
  CHECK(correction.scale == 0);
  CHECK(correction.centre_product == 0);
  const std::vector<float> query{1, 1, 1};
  const RaBitQQuery ready = rabitq.encode_query(query, 4);
  CHECK(rabitq.inner_product(ready, correction, code_distance(rabitq, ready, code)) == 6);

  const std::vector<float> infinite{1, std::numeric_limits<float>::infinity(), 0};
  const std::vector<float> short_one{1, 2};
  REQUIRE_ERROR(rabitq.encode(infinite, code.data(), scratch), "not finite");
  REQUIRE_ERROR(rabitq.encode(short_one, code.data(), scratch), "2 dimensions, expected 3");
  REQUIRE_ERROR(rabitq.encode_query(query, 9), "codes of 9 bits, expected 1 to 8");
  REQUIRE_ERROR(RaBitQ(centre, 0, 1), "codes of 0 bits");
  REQUIRE_ERROR(RaBitQ({}, 1, 1), "0 dimensions");
  REQUIRE_ERROR(RaBitQ(infinite, 1, 1), "centre is not finite");
}
