#include "nibble/search/scalar_codes.hpp"

#include <limits>

#include "io/io_test_support.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

using namespace nibble;

TEST_CASE("uint8 and int8 codes are those of sentence-transformers", "[scalar_codes]") {
  Matrix calibration(2, 3);
  calibration << -1, 0, 3, 1.55F, 255, 3;
  const auto ranges = ScalarRanges::of(calibration);
  Matrix vectors(3, 3);
  vectors << -1, 0.75F, 3,  //
      1.55F, 127.5F, 4,     //
      -9, 300, 0;
  ByteMatrix unsigned_codes(3, 3);
  unsigned_codes << 0, 0, 0, 255, 127, 0, 0, 255, 0;
  CHECK(quantize_uint8(vectors, ranges) == unsigned_codes);
  // 0.75 - 128 and 127.5 - 128 go towards zero.
  Int8Matrix signed_codes(3, 3);
  signed_codes << -128, -127, -128, 127, 0, -128, -128, 127, -128;
  CHECK(quantize_int8(vectors, ranges) == signed_codes);
}

TEST_CASE("a code is within a step of its value", "[scalar_codes]") {
  test::Random random(43);
  const auto values = test::random_floats(random, 50 * 7);
  const Matrix vectors = view_matrix(values.data(), 50, 7);
  const auto ranges = ScalarRanges::of(vectors);
  const ByteMatrix codes = quantize_uint8(vectors, ranges);
  for (Index i = 0; i < 50; ++i) {
    for (Index j = 0; j < 7; ++j) {
      const auto d = static_cast<std::size_t>(j);
      const double step = ranges.steps()[d];
      const double low = ranges.minima()[d] + codes(i, j) * step;
      // Rounding of the difference, the step and the quotient, of at most 255 steps.
      const double slack = 255 * step * 4 * 0x1p-24;
      CHECK(vectors(i, j) >= low - slack);
      CHECK(vectors(i, j) <= low + step + slack);
    }
  }
}

TEST_CASE("ranges and vectors that make no sense are refused", "[scalar_codes]") {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  REQUIRE_ERROR(ScalarRanges::of(Matrix(0, 3)), "expected at least one");
  REQUIRE_ERROR(ScalarRanges({0, 1}, {1}), "2 minima and 1 maxima");
  REQUIRE_ERROR(ScalarRanges({0, 1}, {1, 0}), "dimension 1: from 1 to 0");
  REQUIRE_ERROR(ScalarRanges({nan}, {0}), "dimension 0");
  Matrix vectors = Matrix::Zero(2, 2);
  const ScalarRanges ranges({0, 0}, {1, 1});
  REQUIRE_ERROR(quantize_int8(Matrix::Zero(1, 3), ranges), "3 dimensions, the ranges have 2");
  vectors(1, 0) = nan;
  REQUIRE_ERROR(quantize_uint8(vectors, ranges), "vector 1: is not finite");
  REQUIRE_ERROR(ScalarRanges::of(vectors), "calibration vector 1: is not finite");
}
