// Recall on the passages of a book, against the figures of reference/search.json.
#include <string>
#include <vector>

#include <nibble/dispatch/dispatch.hpp>
#include <nibble/io/json.hpp>
#include <nibble/search/rabitq.hpp>
#include <nibble/search/sign_codes.hpp>

#include "search/novella.hpp"
#include "support/catch.hpp"
#include "support/fixtures.hpp"

using namespace nibble;

namespace {

constexpr const char* book = "text/Stevenson_Treasure_1883.txt";

/// Row r of the result: distances of row r of `queries` from all rows.
Eigen::Matrix<std::int32_t, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> all_distances(
    const ByteMatrix& queries, int query_planes, const ByteMatrix& rows, int row_planes) {
  Eigen::Matrix<std::int32_t, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> distances(
      queries.rows(), rows.rows());
  dispatch::best_search().hamming_distances(
      {{queries.data(), queries.rows(), queries.cols(), query_planes},
       {rows.data(), rows.rows(), rows.cols(), row_planes},
       rows.cols() / row_planes,
       distances.data(),
       distances.cols()});
  return distances;
}

}  // namespace

TEST_CASE("sign bits find what the reference finds", "[recall]") {
  NIBBLE_REQUIRE_FIXTURES(fixtures);
  const Matrix vectors = test::book_vectors(fixtures / "models/novella-embed", fixtures / book);
  REQUIRE(vectors.rows() == 918);
  const ByteMatrix bits = pack_signs(vectors);
  const auto distances = all_distances(bits, 1, bits, 1);
  const auto json = read_json_file(fixtures / "reference/search.json");
  const auto& row = json["rows"]["sign hamming"];
  const test::Recall recall = test::recall_at_10(vectors, [&](Index query, Index other) {
    return -static_cast<float>(distances(query, other));
  });
  CHECK(recall.plain == Approx(row["recall10"].get<double>()).margin(0.01));
  CHECK(recall.rescored_2x == Approx(row["rescored_2x"].get<double>()).margin(0.01));
  CHECK(recall.rescored_4x == Approx(row["rescored_4x"].get<double>()).margin(0.01));
}

TEST_CASE("RaBitQ finds more with every bit", "[recall]") {
  NIBBLE_REQUIRE_FIXTURES(fixtures);
  struct Case {
    int bits, query_bits;
    double plain, rescored_2x, rescored_4x;  // at least
  };
  const Matrix vectors = test::book_vectors(fixtures / "models/novella-embed", fixtures / book);
  const Eigen::RowVectorXf mean = vectors.colwise().mean();
  for (const Case& each : {Case{1, 4, 0.67, 0.87, 0.96}, Case{2, 8, 0.82, 0.97, 0.99},
                           Case{4, 8, 0.935, 0.99, 0.99}}) {
    const RaBitQ rabitq({mean.data(), mean.data() + mean.size()}, each.bits, 1);
    ByteMatrix codes(vectors.rows(), rabitq.code_bytes());
    ByteMatrix query_codes(vectors.rows(), code_bytes(rabitq.dims(), each.query_bits));
    std::vector<RaBitQCorrection> corrections;
    std::vector<RaBitQQuery> queries;
    RaBitQ::Scratch scratch;
    for (Index i = 0; i < vectors.rows(); ++i) {
      const std::span vector(vectors.row(i).data(), static_cast<std::size_t>(vectors.cols()));
      corrections.push_back(rabitq.encode(vector, codes.row(i).data(), scratch));
      queries.push_back(rabitq.encode_query(vector, each.query_bits));
      std::copy_n(queries.back().data(), query_codes.cols(), query_codes.row(i).data());
    }
    const auto distances = all_distances(query_codes, each.query_bits, codes, each.bits);
    const test::Recall recall = test::recall_at_10(vectors, [&](Index query, Index row) {
      return rabitq.inner_product(queries[static_cast<std::size_t>(query)],
                                  corrections[static_cast<std::size_t>(row)],
                                  distances(query, row));
    });
    INFO(each.bits << " bits: " << recall.plain << ", rescored " << recall.rescored_2x << ", "
                   << recall.rescored_4x);
    CHECK(recall.plain >= each.plain);
    CHECK(recall.rescored_2x >= each.rescored_2x);
    CHECK(recall.rescored_4x >= each.rescored_4x);
  }
}
