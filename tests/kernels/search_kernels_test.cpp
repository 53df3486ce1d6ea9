#include "nibble/kernels/search_kernels.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <nibble/dispatch/dispatch.hpp>

#include "support/catch.hpp"
#include "support/isas.hpp"
#include "support/random.hpp"

using namespace nibble;
using test::float_epsilon;

namespace {

/// Plain C++, and the search kernels of every instruction set that this CPU runs.
std::vector<const SearchKernels*> search_tables() {
  std::vector<const SearchKernels*> all{&search_kernels<simd::Portable>()};
  const auto compiled = dispatch::available_search();
  all.insert(all.end(), compiled.begin(), compiled.end());
  return all;
}

std::vector<std::uint8_t> random_codes(test::Random& random, Index count) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(count));
  for (std::uint8_t& byte : bytes) byte = test::random_integer<std::uint8_t>(random, 0, 255);
  return bytes;
}

struct CodeShape {
  Index queries, rows, plane_bytes, gap;
  int query_planes, row_planes;
};

}  // namespace

TEST_CASE("Hamming distances are exact", "[search_kernels]") {
  test::Random random(131);
  std::vector<CodeShape> shapes{{1, 100, 128, 0, 1, 1}, {3, 17, 4096, 0, 8, 8}, {1, 1, 1, 0, 4, 1}};
  for (int i = 0; i < 60; ++i) {
    shapes.push_back(
        {test::random_integer<Index>(random, 1, 5), test::random_integer<Index>(random, 1, 40),
         test::random_integer<Index>(random, 1, 300), test::random_integer<Index>(random, 0, 9),
         test::random_integer<int>(random, 1, 8), test::random_integer<int>(random, 1, 8)});
  }
  for (const CodeShape& shape : shapes) {
    CAPTURE(shape.queries, shape.rows, shape.plane_bytes, shape.query_planes, shape.row_planes);
    const Index query_stride = shape.query_planes * shape.plane_bytes + shape.gap;
    const Index row_stride = shape.row_planes * shape.plane_bytes + shape.gap;
    // The last row ends where the bytes end.
    const auto queries = random_codes(random, shape.queries * query_stride - shape.gap);
    const auto rows = random_codes(random, shape.rows * row_stride - shape.gap);
    const Index distance_stride = shape.rows + 1;
    std::vector<std::int32_t> expected;
    for (Index q = 0; q < shape.queries; ++q) {
      for (Index r = 0; r < shape.rows; ++r) {
        std::int64_t sum = 0;
        for (int i = 0; i < shape.query_planes; ++i) {
          for (int j = 0; j < shape.row_planes; ++j) {
            const std::uint8_t* a = queries.data() + q * query_stride + i * shape.plane_bytes;
            const std::uint8_t* b = rows.data() + r * row_stride + j * shape.plane_bytes;
            std::int64_t bits = 0;
            for (Index k = 0; k < shape.plane_bytes; ++k) {
              bits += std::popcount(static_cast<std::uint8_t>(a[k] ^ b[k]));
            }
            sum += bits << (shape.query_planes - 1 - i + shape.row_planes - 1 - j);
          }
        }
        expected.push_back(static_cast<std::int32_t>(sum));
      }
      expected.push_back(-1);
    }
    for (const SearchKernels* table : search_tables()) {
      CAPTURE(table->isa);
      std::vector<std::int32_t> distances(expected.size(), -1);
      table->hamming_distances({{queries.data(), shape.queries, query_stride, shape.query_planes},
                                {rows.data(), shape.rows, row_stride, shape.row_planes},
                                shape.plane_bytes,
                                distances.data(),
                                distance_stride});
      CHECK(distances == expected);
    }
  }
}

TEST_CASE("the largest distance fits", "[search_kernels]") {
  const std::vector<std::uint8_t> zeros(8 * max_plane_bytes, 0x00), ones(zeros.size(), 0xFF);
  for (const SearchKernels* table : search_tables()) {
    CAPTURE(table->isa);
    std::int32_t distance = 0;
    table->hamming_distances({{zeros.data(), 1, 8 * max_plane_bytes, 8},
                              {ones.data(), 1, 8 * max_plane_bytes, 8},
                              max_plane_bytes,
                              &distance,
                              1});
    CHECK(distance == 8 * max_plane_bytes * 255 * 255);
  }
}

TEST_CASE("scores by distances, and whether one reaches the threshold", "[search_kernels]") {
  test::Random random(132);
  for (Index count = 1; count <= 70; ++count) {
    CAPTURE(count);
    const auto floats = test::random_floats(random, 2 * count + 3);
    CodeScoreTask task;
    task.count = count;
    task.most = test::random_integer<std::int32_t>(random, 1, 8 * max_plane_bytes * 255 * 255);
    task.scale = 1e-3F * floats[0];
    task.centre_product = floats[1];
    std::vector<std::int32_t> distances;
    std::vector<RaBitQCorrection> corrections;
    for (Index i = 0; i < count; ++i) {
      distances.push_back(test::random_integer<std::int32_t>(random, 0, task.most));
      const auto at = static_cast<std::size_t>(2 * i);
      corrections.push_back({floats[at + 2], floats[at + 3]});
    }
    task.distances = distances.data();
    for (const bool corrected : {false, true}) {
      task.corrections = corrected ? corrections.data() : nullptr;
      std::vector<double> expected, bounds;
      for (std::size_t i = 0; i < distances.size(); ++i) {
        const RaBitQCorrection row = corrected ? corrections[i] : RaBitQCorrection{1, 0};
        const double product = task.most - 2.0 * distances[i];
        const double scaled = static_cast<double>(task.scale) * row.scale * product;
        expected.push_back(static_cast<double>(task.centre_product) + row.centre_product + scaled);
        // Of the product to float32, of two products and of two sums.
        bounds.push_back(
            5 * float_epsilon *
            (std::abs(task.centre_product) + std::abs(row.centre_product) + std::abs(scaled)));
      }
      for (const SearchKernels* table : search_tables()) {
        CAPTURE(table->isa);
        std::vector<float> scores(distances.size() + 1, -1.0F);
        task.scores = scores.data();
        task.threshold = std::numeric_limits<float>::infinity();
        CHECK_FALSE(table->score_codes(task));
        for (std::size_t i = 0; i < distances.size(); ++i) {
          CHECK(std::abs(scores[i] - expected[i]) <= bounds[i]);
        }
        CHECK(scores.back() == -1.0F);
        scores.pop_back();
        task.threshold = *std::ranges::max_element(scores);
        CHECK(table->score_codes(task));
        task.threshold = std::nextafter(task.threshold, std::numeric_limits<float>::infinity());
        CHECK_FALSE(table->score_codes(task));
        scores.push_back(0);
      }
    }
  }
}

TEST_CASE("inner products with floats and with int8 codes", "[search_kernels]") {
  test::Random random(133);
  for (Index size = 1; size <= 70; ++size) {
    CAPTURE(size);
    const auto a = test::random_floats(random, size), b = test::random_floats(random, size);
    std::vector<std::int8_t> codes(a.size());
    for (std::int8_t& code : codes) code = test::random_integer<std::int8_t>(random, -128, 127);
    double with_floats = 0, float_magnitude = 0, with_codes = 0, code_magnitude = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      with_floats += static_cast<double>(a[i]) * b[i];
      float_magnitude += std::abs(static_cast<double>(a[i]) * b[i]);
      with_codes += static_cast<double>(a[i]) * codes[i];
      code_magnitude += std::abs(static_cast<double>(a[i]) * codes[i]);
    }
    // Products and sums of a lane, maybe rounded apart, and four sums of the tree.
    const double bound =
        (2 * static_cast<double>(divide_up(size, Index{16})) + 4) * float_epsilon * (1 + 1e-5);
    for (const SearchKernels* table : search_tables()) {
      CAPTURE(table->isa);
      CHECK(std::abs(table->dot(a.data(), b.data(), size) - with_floats) <=
            bound * float_magnitude);
      CHECK(std::abs(table->dot_int8(a.data(), codes.data(), size) - with_codes) <=
            bound * code_magnitude);
    }
  }
}

TEST_CASE("inner products of all rows with all rows", "[search_kernels]") {
  test::Random random(134);
  for (int round = 0; round < 20; ++round) {
    const auto number = [&](Index most) { return test::random_integer<Index>(random, 1, most); };
    const Index a_count = number(9), b_count = number(150), size = number(70), gap = number(5);
    CAPTURE(a_count, b_count, size);
    const Index a_stride = size + gap, b_stride = size + 1;
    // The last row ends where the numbers end.
    const auto a = test::random_floats(random, a_count * a_stride - gap);
    const auto b = test::random_floats(random, b_count * b_stride - 1);
    for (const SearchKernels* table : search_tables()) {
      CAPTURE(table->isa);
      std::vector<float> products(static_cast<std::size_t>(a_count * (b_count + 1)), -1.0F);
      table->dot_products({{a.data(), a_count, a_stride},
                           {b.data(), b_count, b_stride},
                           size,
                           products.data(),
                           b_count + 1});
      for (Index i = 0; i < a_count; ++i) {
        const float* row = products.data() + i * (b_count + 1);
        for (Index j = 0; j < b_count; ++j) {
          double expected = 0, magnitude = 0;
          for (Index k = 0; k < size; ++k) {
            const double product =
                static_cast<double>(a[static_cast<std::size_t>(i * a_stride + k)]) *
                b[static_cast<std::size_t>(j * b_stride + k)];
            expected += product;
            magnitude += std::abs(product);
          }
          // As for a single product, above.
          const double roundings = 2 * static_cast<double>(divide_up(size, Index{16})) + 4;
          CHECK(std::abs(row[j] - expected) <= roundings * float_epsilon * (1 + 1e-5) * magnitude);
        }
        CHECK(row[b_count] == -1.0F);
      }
      float alone = 0;
      table->dot_products({{a.data() + (a_count - 1) * a_stride, 1, a_stride},
                           {b.data() + (b_count - 1) * b_stride, 1, b_stride},
                           size,
                           &alone,
                           1});
      CHECK(products[products.size() - 2] == alone);
    }
  }
}
