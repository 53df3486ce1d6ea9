// A BinaryIndex with lists: what is probed, what is kept, and files.
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include <nibble/core/thread_pool.hpp>
#include <nibble/dispatch/dispatch.hpp>
#include <nibble/search/binary_index.hpp>
#include <nibble/search/random_rotation.hpp>

#include "io/io_test_support.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

using namespace nibble;

namespace {

constexpr Index list_count = 9;

Matrix scattered(std::uint32_t seed, Index rows, Index dims) {
  test::Random random(seed);
  const auto values = test::random_floats(random, rows * dims);
  return view_matrix(values.data(), rows, dims);
}

std::vector<std::uint64_t> numbers(std::uint64_t first, Index count) {
  std::vector<std::uint64_t> ids(static_cast<std::size_t>(count));
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

BinaryIndex index_with_lists(const Matrix& vectors, int code_bits, KeptVectors kept,
                             ThreadPool& pool) {
  BinaryIndex index(with_lists(fit_index(vectors, code_bits, kept), vectors, list_count, pool, {},
                               dispatch::best_search()));
  index.add(numbers(0, vectors.rows()), vectors, pool, dispatch::best_search());
  return index;
}

/// Ids and scores of a search that reads all lists.
std::vector<std::vector<std::pair<std::uint64_t, float>>> contents(const BinaryIndex& index,
                                                                   ThreadPool& pool) {
  SearchOptions options;
  options.count = 10000;
  options.oversampling = 0;
  options.probes = list_count;
  std::vector<std::vector<std::pair<std::uint64_t, float>>> all;
  for (const auto& found : index.search(scattered(81, 3, index.parameters().dims), options, pool,
                                        dispatch::best_search())) {
    all.emplace_back();
    for (const Neighbour& each : found) all.back().emplace_back(each.id, each.score);
  }
  return all;
}

}  // namespace

TEST_CASE("a search finds the exact nearest of the lists that it probes", "[index_lists]") {
  ThreadPool pool(2);
  const Index dims = 37;
  const Matrix vectors = scattered(82, 700, dims), queries = scattered(83, 70, dims);
  for (const int code_bits : {0, 1, 3}) {
    const BinaryIndex index = index_with_lists(vectors, code_bits, KeptVectors::Float32, pool);
    CHECK(index.size() == 700);
    const Eigen::MatrixXd centroids =
        view_matrix(index.parameters().centroids.data(), list_count, dims).cast<double>();
    const RandomRotation rotation(dims, index.parameters().seed);
    const auto lists_by_distance = [&](const Eigen::RowVectorXf& vector) {
      Eigen::RowVectorXf turned = vector;
      if (code_bits > 0) rotation.apply({turned.data(), static_cast<std::size_t>(dims)});
      std::vector<Index> lists(list_count);
      std::iota(lists.begin(), lists.end(), Index{0});
      std::ranges::sort(lists, {}, [&](Index list) {
        return (centroids.row(list) - turned.cast<double>()).squaredNorm();
      });
      return lists;
    };
    std::vector<Index> homes;
    for (Index i = 0; i < 700; ++i) homes.push_back(lists_by_distance(vectors.row(i)).front());
    for (const std::size_t probes :
         {std::size_t{1}, std::size_t{4}, std::size_t{9}, std::size_t{100}}) {
      CAPTURE(code_bits, probes);
      SearchOptions options;
      options.count = 6;
      options.oversampling = 700;
      options.probes = probes;
      const auto found = index.search(queries, options, pool, dispatch::best_search());
      for (Index q = 0; q < queries.rows(); ++q) {
        auto lists = lists_by_distance(queries.row(q));
        lists.resize(std::min<std::size_t>(probes, list_count));
        Nearest nearest(6);
        for (Index i = 0; i < 700; ++i) {
          if (std::ranges::find(lists, homes[static_cast<std::size_t>(i)]) == lists.end()) continue;
          nearest.add({static_cast<std::uint64_t>(i), vectors.row(i).dot(queries.row(q)), i});
        }
        const auto expected = std::move(nearest).take();
        const auto& got = found[static_cast<std::size_t>(q)];
        REQUIRE(got.size() == expected.size());
        for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i].id == expected[i].id);
      }
    }
  }
}

TEST_CASE("codes relative to a list's centroid estimate inner products", "[index_lists]") {
  ThreadPool pool(1);
  const Matrix vectors = scattered(84, 300, 64), queries = scattered(85, 5, 64);
  const BinaryIndex index = index_with_lists(vectors, 6, KeptVectors::None, pool);
  SearchOptions options;
  options.count = 300;
  options.query_bits = 8;
  options.probes = list_count;
  const auto found = index.search(queries, options, pool, dispatch::best_search());
  for (Index q = 0; q < 5; ++q) {
    REQUIRE(found[static_cast<std::size_t>(q)].size() == 300);
    for (const Neighbour& each : found[static_cast<std::size_t>(q)]) {
      const auto vector = vectors.row(static_cast<Index>(each.id));
      // As in rabitq_test.cpp: the deviation is 0.035 / sqrt(64) of the lengths at most.
      const float bound = 6 * 0.035F / 8 * vector.norm() * queries.row(q).norm() * 2;
      CHECK(std::abs(each.score - vector.dot(queries.row(q))) < bound);
    }
  }
}

TEST_CASE("with lists too, the same for any number of threads and any batch", "[index_lists]") {
  ThreadPool one(1), three(3);
  const Matrix vectors = scattered(86, 3000, 24), queries = scattered(87, 70, 24);
  const BinaryIndex index = index_with_lists(vectors, 1, KeptVectors::Int8, one);
  const BinaryIndex other = index_with_lists(vectors, 1, KeptVectors::Int8, three);
  CHECK(index.parameters() == other.parameters());
  SearchOptions options;
  options.probes = 3;
  const auto found = index.search(queries, options, one, dispatch::best_search());
  CHECK(other.search(queries, options, three, dispatch::best_search()) == found);
  for (const Index q : {Index{0}, Index{69}}) {
    CHECK(index.search(queries.middleRows(q, 1), options, three, dispatch::best_search()).front() ==
          found[static_cast<std::size_t>(q)]);
  }
  REQUIRE_ERROR(index.search(queries, {.probes = 0}, one), "probes: expected 1 or more");
  REQUIRE_ERROR(index.search(scattered(1, 1, 23), {}, one), "queries of 23 dimensions");
  REQUIRE_ERROR(with_lists(index.parameters(), vectors, 3001, one, {}, dispatch::best_search()),
                "lists: expected 1 to 3000, found 3001");
}

TEST_CASE("an index with lists is added to, removed from, saved and appended to", "[index_lists]") {
  ThreadPool pool(2);
  const test::TemporaryDirectory folder;
  const auto path = folder / "index";
  const Matrix vectors = scattered(88, 200, 33), more = scattered(89, 30, 33);
  for (const int code_bits : {0, 1, 2}) {
    BinaryIndex index = index_with_lists(vectors, code_bits, KeptVectors::Int8, pool);
    const auto before = contents(index, pool);
    index.save(path);
    BinaryIndex::verify(path);
    BinaryIndex opened = BinaryIndex::open(path);
    CHECK(opened.parameters() == index.parameters());
    CHECK(contents(opened, pool) == before);
    REQUIRE_ERROR(opened.add(std::vector<std::uint64_t>{500, 7}, more.topRows(2), pool),
                  "id 7 is there already");
    const BinaryIndex reader = BinaryIndex::open(path);
    for (BinaryIndex* each : {&index, &opened}) {
      each->add(numbers(1000, 30), more, pool, dispatch::best_search());
      CHECK(each->remove(std::vector<std::uint64_t>{3, 1005, 77, 9999}) == 3);
    }
    opened.commit();
    opened.add(numbers(2000, 1), more.topRows(1), pool, dispatch::best_search());
    opened.commit();
    index.add(numbers(2000, 1), more.topRows(1), pool, dispatch::best_search());
    CHECK(contents(reader, pool) == before);
    const auto after = contents(index, pool);
    CHECK(after.front().size() == 228);
    BinaryIndex::verify(path);
    CHECK(contents(BinaryIndex::open(path), pool) == after);

    // Saved anew, all rows of a list lie together, without the removed ones.
    BinaryIndex::open(path).save(path);
    BinaryIndex::verify(path);
    const BinaryIndex saved = BinaryIndex::open(path);
    CHECK(saved.rows() == 228);
    CHECK(contents(saved, pool) == after);
    const auto view = index_file::read(MappedFile::open(path)->bytes(), "index");
    REQUIRE(view.records.size() == 1);
    CHECK(view.records.front().header.runs <= list_count);
  }
}

TEST_CASE("damaged and lying lists are refused", "[index_lists]") {
  ThreadPool pool(1);
  const test::TemporaryDirectory folder;
  const auto path = folder / "index";
  index_with_lists(scattered(90, 40, 8), 1, KeptVectors::None, pool).save(path);
  const std::string good = test::read_bytes(path);
  const auto open_changed = [&](const std::string& bytes) {
    test::write_bytes(path, bytes);
    BinaryIndex::verify(path);
  };
  open_changed(good);
  test::Random random(91);
  for (std::size_t at = 0; at < good.size(); at += at < 56 || at >= 4096 ? 1 : 64) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << test::random_integer(random, 0, 7)));
    const std::string error = test::error_of([&] { open_changed(bytes); });
    CAPTURE(at, error);
    CHECK((error.empty() || error.find("index: ") != std::string::npos));
  }
  // Wrong runs under checksums that are right.
  const std::size_t record = good.find("rows", 4096);
  const auto forge = [&](auto change) {
    std::string bytes = good;
    index_file::RecordHeader header;
    index_file::FileHeader file;
    std::memcpy(&header, bytes.data() + record, sizeof header);
    std::memcpy(&file, bytes.data(), sizeof file);
    std::vector<index_file::ListRun> runs(static_cast<std::size_t>(header.runs));
    const std::size_t size = runs.size() * sizeof(index_file::ListRun);
    std::memcpy(runs.data(), bytes.data() + record + sizeof header, size);
    change(runs, header, file);
    std::memcpy(bytes.data() + record + sizeof header, runs.data(), size);
    header.checksums[index_file::Lists] = checksum(std::as_bytes(std::span(runs)));
    header.checksum = index_file::checksum_before(header);
    std::memcpy(bytes.data() + record, &header, sizeof header);
    file.checksum = index_file::checksum_before(file);
    std::memcpy(bytes.data(), &file, sizeof file);
    index_file::Root root;
    std::memcpy(&root, bytes.data() + index_file::root_offset(0), sizeof root);
    root.chain = index_file::join_chain(file.checksum, header);
    root.checksum = index_file::checksum_before(root);
    std::memcpy(bytes.data() + index_file::root_offset(0), &root, sizeof root);
    return test::error_of([&] { open_changed(bytes); });
  };
  using Runs = std::vector<index_file::ListRun>;
  using Record = index_file::RecordHeader;
  using Header = index_file::FileHeader;
  CHECK(forge([](Runs&, Record&, Header&) {}).empty());
  const auto said = [](const std::string& error, const char* what) {
    CAPTURE(error);
    CHECK(error.find(what) != std::string::npos);
  };
  said(forge([](Runs& runs, Record&, Header&) { runs[1].list = runs[0].list; }), "not in order");
  said(forge([](Runs& runs, Record&, Header&) { runs.back().list = list_count; }), "not in order");
  said(forge([](Runs& runs, Record&, Header&) { runs[1].end = runs[0].end; }), "not in order");
  said(forge([](Runs& runs, Record&, Header&) { ++runs.back().end; }), "hold 41 rows");
  said(forge([](Runs&, Record& header, Header&) { header.runs = 1ULL << 60; }), "do not fit");
  said(forge([](Runs&, Record& header, Header&) { header.runs = 0; }), "hold 0 rows");
  said(forge([](Runs&, Record&, Header& file) { file.lists = 0xFFFFFFFFU; }),
       "not one of an index");
  said(forge([](Runs&, Record&, Header& file) { file.lists = 1U << 20; }), "the parameters at");
}
