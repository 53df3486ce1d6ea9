#include "nibble/search/scan.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include <nibble/core/thread_pool.hpp>
#include <nibble/dispatch/dispatch.hpp>

#include "io/io_test_support.hpp"
#include "search/random_vectors.hpp"
#include "support/catch.hpp"
#include "support/isas.hpp"

using namespace nibble;

namespace {

using test::random_vectors;

/// Rows as an index holds them.
struct Rows {
  std::vector<std::uint64_t> ids;
  std::vector<std::uint8_t> codes;
  std::vector<RaBitQCorrection> corrections;

  Rows(const Matrix& vectors, const RowEncoder& encoder) {
    const Index stride = encoder.row_bytes().code;
    codes.resize(static_cast<std::size_t>(vectors.rows() * stride));
    corrections.resize(static_cast<std::size_t>(vectors.rows()));
    RowEncoder::Scratch scratch;
    std::byte none{};  // no vectors are kept
    for (Index i = 0; i < vectors.rows(); ++i) {
      ids.push_back(1000 - static_cast<std::uint64_t>(i));
      encoder.encode({vectors.row(i).data(), static_cast<std::size_t>(vectors.cols())}, 0,
                     codes.data() + i * stride, &corrections[static_cast<std::size_t>(i)], &none,
                     scratch);
    }
  }

  /// Some of them.
  [[nodiscard]] RowSpan span(Index first, Index count, const RowEncoder& encoder) const {
    return {count,
            first,
            ids.data() + first,
            codes.data() + first * encoder.row_bytes().code,
            encoder.rabitq() == nullptr ? nullptr : corrections.data() + first,
            nullptr};
  }
};

double norm(const Matrix& vectors, Index row) {
  return std::sqrt(vectors.row(row).cast<double>().squaredNorm());
}

}  // namespace

TEST_CASE("a scan finds what comparing all scores finds", "[scan]") {
  ThreadPool pool(2);
  for (const Index dims : {7, 64, 130}) {
    for (const int bits : {0, 1, 3}) {
      CAPTURE(dims, bits);
      const Matrix vectors = random_vectors(81, 333, dims), queries = random_vectors(82, 67, dims);
      const RowEncoder encoder(fit_index(vectors, bits, KeptVectors::None));
      const Rows rows(vectors, encoder);
      const std::vector<RowSpan> whole{rows.span(0, 333, encoder)};
      const std::vector<RowSpan> parts{rows.span(0, 1, encoder), rows.span(1, 200, encoder),
                                       rows.span(201, 132, encoder)};
      const ScanQueries ready(queries, encoder, 4, pool);
      REQUIRE(ready.count() == 67);
      const auto find = [&](const std::vector<RowSpan>& spans, std::size_t count,
                            const RowFilter& filter) {
        std::vector<std::vector<Neighbour>> found;
        for (Nearest& each :
             scan(ready, spans, encoder, count, filter, pool, dispatch::best_search())) {
          found.push_back(std::move(each).take());
        }
        return found;
      };
      const auto all = find(whole, 333, {});  // none is below a threshold
      const auto few = find(whole, 9, {});
      const RowFilter odd = [](std::uint64_t id, std::int64_t) { return id % 2 == 1; };
      const auto filtered = find(parts, 9, odd);
      for (std::size_t q = 0; q < all.size(); ++q) {
        REQUIRE(all[q].size() == 333);
        CHECK(std::equal(few[q].begin(), few[q].end(), all[q].begin(), all[q].begin() + 9));
        auto wanted = all[q];
        std::erase_if(wanted, [&](const Neighbour& each) { return !odd(each.id, each.row); });
        wanted.resize(9);
        CHECK(filtered[q] == wanted);
      }
    }
  }
}

TEST_CASE("queries of several bits meet sign bits", "[scan]") {
  ThreadPool pool(1);
  constexpr Index dims = 200, count = 100;
  const Matrix vectors = random_vectors(83, count, dims), query = random_vectors(84, 1, dims);
  IndexParameters parameters;
  parameters.dims = dims;
  parameters.code_bits = 0;
  parameters.kept = KeptVectors::None;
  const RowEncoder encoder(parameters);
  const Rows rows(vectors, encoder);
  const std::vector<RowSpan> spans{rows.span(0, count, encoder)};
  const Matrix signs = vectors.unaryExpr([](float value) { return value > 0 ? 1.0F : -1.0F; });
  for (const int bits : {1, 2, 4, 8}) {
    CAPTURE(bits);
    // The angle between the query and its code is the most that angles to rows are off by.
    std::vector<std::uint8_t> code(static_cast<std::size_t>(code_bytes(dims, bits)));
    OddLevelScratch scratch;
    const double product = encode_odd_levels({query.data(), static_cast<std::size_t>(dims)}, bits,
                                             code.data(), scratch);
    const double code_norm = std::sqrt(scratch.levels.cast<double>().square().sum());
    const double angle = std::acos(std::min(product / code_norm / norm(query, 0), 1.0));
    CHECK(angle < (bits == 1 ? 1.0 : bits == 2 ? 0.5 : bits == 4 ? 0.15 : 0.03));
    const ScanQueries ready(query, encoder, bits, pool);
    auto found = scan(ready, spans, encoder, count, {}, pool, dispatch::best_search());
    for (const Neighbour& each : std::move(found.front()).take()) {
      const Index row = 1000 - static_cast<Index>(each.id);
      const double exact = query.row(0).cast<double>().dot(signs.row(row).cast<double>()) /
                           norm(query, 0) / norm(signs, row);
      CHECK(std::abs(each.score - exact) <= angle + 1e-6);  // of float32
      if (bits == 1) {
        Index differing = 0;
        for (Index i = 0; i < dims; ++i) {
          differing += (query(0, i) > 0) != (signs(row, i) > 0) ? 1 : 0;
        }
        CHECK(each.score == Approx(1 - 2.0 * static_cast<double>(differing) / dims));
      }
    }
  }
  REQUIRE_ERROR(ScanQueries(query, encoder, 9, pool), "query: codes of 9 bits, expected 1 to 8");
}
