#include "nibble/search/binary_index.hpp"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include <nibble/core/thread_pool.hpp>

#include "io/io_test_support.hpp"
#include "search/random_vectors.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

using namespace nibble;

namespace {

using test::random_vectors;

/// first, first + 3, first + 6, ...
std::vector<std::uint64_t> ids_from(std::uint64_t first, Index count) {
  std::vector<std::uint64_t> ids;
  for (Index i = 0; i < count; ++i) ids.push_back(first + 3 * static_cast<std::uint64_t>(i));
  return ids;
}

BinaryIndex make_index(const Matrix& vectors, int code_bits, KeptVectors kept, ThreadPool& pool) {
  BinaryIndex index(fit_index(vectors, code_bits, kept));
  index.add(ids_from(100, vectors.rows()), vectors, pool);
  return index;
}

/// What a file holds, as its searches tell.
std::vector<std::vector<Neighbour>> everything(const BinaryIndex& index, ThreadPool& pool) {
  const Matrix queries = random_vectors(1, 3, index.parameters().dims);
  return index.search(queries,
                      {.count = static_cast<std::size_t>(index.size()) + 1,
                       .query_bits = 0,
                       .oversampling = 0,
                       .filter = {}},
                      pool);
}

}  // namespace

TEST_CASE("with float vectors and all rows re-ranked, results are exact", "[binary_index]") {
  ThreadPool pool(2);
  const Matrix vectors = random_vectors(51, 300, 45), queries = random_vectors(52, 70, 45);
  for (const int code_bits : {0, 1, 3}) {
    const BinaryIndex index = make_index(vectors, code_bits, KeptVectors::Float32, pool);
    CHECK(index.size() == 300);
    const auto found = index.search(
        queries, {.count = 7, .query_bits = 0, .oversampling = 300, .filter = {}}, pool);
    REQUIRE(found.size() == 70);
    for (Index q = 0; q < queries.rows(); ++q) {
      const Eigen::VectorXf exact = vectors * queries.row(q).transpose();
      Nearest nearest(7);
      for (Index i = 0; i < 300; ++i) {
        nearest.add({100 + 3 * static_cast<std::uint64_t>(i), exact[i], i});
      }
      const auto expected = std::move(nearest).take();
      const auto& got = found[static_cast<std::size_t>(q)];
      REQUIRE(got.size() == 7);
      for (std::size_t i = 0; i < 7; ++i) {
        CHECK(got[i].id == expected[i].id);
        CHECK(got[i].score == Approx(expected[i].score).margin(1e-4));
      }
    }
  }
}

TEST_CASE("int8 vectors come within half a step, whatever the index began with", "[binary_index]") {
  ThreadPool pool(1);
  Matrix vectors = random_vectors(53, 200, 33);
  const Matrix queries = random_vectors(54, 5, 33);
  vectors.row(7).setZero();
  vectors.row(8) *= 1e6F;
  BinaryIndex index(fit_index(vectors.topRows(1), 1, KeptVectors::Int8));
  index.add(ids_from(100, 200), vectors, pool);
  const auto found =
      index.search(queries, {.count = 200, .query_bits = 0, .oversampling = 1, .filter = {}}, pool);
  for (Index q = 0; q < queries.rows(); ++q) {
    REQUIRE(found[static_cast<std::size_t>(q)].size() == 200);
    const float sum = queries.row(q).cwiseAbs().sum();
    for (const Neighbour& each : found[static_cast<std::size_t>(q)]) {
      const auto vector = vectors.row(static_cast<Index>((each.id - 100) / 3));
      // Half a step of every level, and the float32 sums.
      const float bound = vector.cwiseAbs().maxCoeff() * sum * (1 / 254.0F + 40 * 0x1p-24F);
      CHECK(std::abs(each.score - vector.dot(queries.row(q))) <= bound);
    }
  }
}

TEST_CASE("the same for any number of threads", "[binary_index]") {
  ThreadPool one(1), three(3);
  const Matrix vectors = random_vectors(55, 20000, 16), queries = random_vectors(56, 3, 16);
  const BinaryIndex index = make_index(vectors, 0, KeptVectors::Int8, one);
  const SearchOptions options{.count = 50, .query_bits = 0, .oversampling = 0, .filter = {}};
  CHECK(index.search(queries, options, one) == index.search(queries, options, three));
  const SearchOptions rescored{.count = 50, .query_bits = 0, .oversampling = 3, .filter = {}};
  CHECK(index.search(queries, rescored, one) == index.search(queries, rescored, three));
}

TEST_CASE("rows are removed, filtered and added", "[binary_index]") {
  ThreadPool pool(2);
  const Matrix vectors = random_vectors(57, 90, 20);
  BinaryIndex index = make_index(vectors, 2, KeptVectors::None, pool);
  const std::vector<std::uint64_t> gone{100, 106, 5, 100};
  CHECK(index.remove(gone) == 2);
  CHECK(index.size() == 88);
  CHECK(index.rows() == 90);
  index.add(ids_from(106, 1), vectors.topRows(1), pool);
  const auto found = index.search(vectors.topRows(3),
                                  {.count = 500,
                                   .query_bits = 8,
                                   .oversampling = 4,
                                   .filter = [](std::uint64_t id) { return id % 2 == 0; }},
                                  pool);
  for (const auto& each : found) {
    CHECK(each.size() == 44);
    for (const Neighbour& neighbour : each) {
      CHECK(neighbour.id % 2 == 0);
      CHECK(neighbour.id != 100);
    }
  }
  CHECK(found[0][0].id == 106);  // the vector that 100 had
}

TEST_CASE("what cannot be added or searched is refused, and nothing changes", "[binary_index]") {
  ThreadPool pool(2);
  const Matrix vectors = random_vectors(58, 40, 12);
  BinaryIndex index = make_index(vectors, 1, KeptVectors::Int8, pool);
  const auto before = everything(index, pool);
  REQUIRE_ERROR(index.add(ids_from(1, 2), vectors, pool), "2 ids for 40 vectors");
  REQUIRE_ERROR(index.add(ids_from(1, 1), random_vectors(1, 1, 13), pool),
                "vectors of 13 dimensions, expected 12");
  REQUIRE_ERROR(index.add(std::vector<std::uint64_t>{7, 103}, vectors.topRows(2), pool),
                "id 103 is there already");
  REQUIRE_ERROR(index.add(std::vector<std::uint64_t>{7, 7}, vectors.topRows(2), pool),
                "id 7 is there already");
  Matrix broken = vectors.topRows(2);
  broken(1, 3) = std::numeric_limits<float>::infinity();
  REQUIRE_ERROR(index.add(ids_from(7, 2), broken, pool), "vector 1: a vector is not finite");
  CHECK(everything(index, pool) == before);
  index.add(ids_from(7, 2), vectors.topRows(2), pool);

  SearchOptions options;
  REQUIRE_ERROR(index.search(broken, options, pool), "query 1: is not finite");
  REQUIRE_ERROR(index.search(random_vectors(1, 1, 13), options, pool), "queries of 13 dimensions");
  broken(1, 3) = 3e38F;
  REQUIRE_ERROR(index.search(broken, options, pool),
                "query 1: a vector is not finite, or too long");
  options.query_bits = 9;
  REQUIRE_ERROR(index.search(vectors, options, pool), "codes of 9 bits");
  options = {};
  options.oversampling = -1;
  REQUIRE_ERROR(index.search(vectors, options, pool), "oversampling");
  REQUIRE_ERROR(index.commit(), "was not opened from a file");
  IndexParameters parameters = index.parameters();
  parameters.centre.pop_back();
  REQUIRE_ERROR(BinaryIndex(parameters), "centre of 11 numbers, expected 12");
  CHECK(BinaryIndex(index.parameters()).search(vectors, {}, pool).front().empty());
  REQUIRE_ERROR(fit_index(Matrix(0, 12), 1, KeptVectors::None), "fitted to no vectors");
  broken(1, 3) = std::numeric_limits<float>::quiet_NaN();
  REQUIRE_ERROR(fit_index(broken, 1, KeptVectors::None), "fitted to vector 1, which is not finite");
}

TEST_CASE("a file holds what was saved and appended", "[binary_index]") {
  ThreadPool pool(2);
  const test::TemporaryDirectory folder;
  const Matrix vectors = random_vectors(59, 130, 77), more = random_vectors(60, 9, 77);
  for (const int code_bits : {0, 1, 4}) {
    for (const auto kept : {KeptVectors::None, KeptVectors::Int8, KeptVectors::Float32}) {
      const auto path = folder / "index";
      BinaryIndex index = make_index(vectors, code_bits, kept, pool);
      index.save(path);
      BinaryIndex opened = BinaryIndex::open(path);
      CHECK(opened.parameters() == index.parameters());
      CHECK(everything(opened, pool) == everything(index, pool));

      const auto reader = BinaryIndex::open(path);
      const auto before = everything(reader, pool);
      for (BinaryIndex* each : {&index, &opened}) {
        each->add(ids_from(1, 9), more, pool);
        each->remove(std::vector<std::uint64_t>{4, 103, 10000});
      }
      opened.commit();
      CHECK(everything(reader, pool) == before);  // as it was when it was opened
      CHECK(everything(BinaryIndex::open(path), pool) == everything(index, pool));
      opened.remove(std::vector<std::uint64_t>{7});
      opened.add(ids_from(4, 1), more.topRows(1), pool);
      opened.commit();
      opened.commit();  // nothing new
      BinaryIndex::verify(path);
      BinaryIndex last = BinaryIndex::open(path);
      CHECK(everything(last, pool) == everything(opened, pool));
      CHECK(last.size() == 130 + 9 - 2 - 1 + 1);

      // Saved anew, removed rows take no room.
      const auto size = std::filesystem::file_size(path);
      last.save(path);
      CHECK(std::filesystem::file_size(path) < size);
      CHECK(BinaryIndex::open(path).rows() == last.size());
      // Rows have moved up, so ids and scores are compared.
      const auto a = everything(BinaryIndex::open(path), pool), b = everything(last, pool);
      for (std::size_t q = 0; q < a.size(); ++q) {
        CHECK(std::ranges::equal(a[q], b[q], [](const Neighbour& x, const Neighbour& y) {
          return x.id == y.id && x.score == y.score;
        }));
      }
      REQUIRE_ERROR(opened.remove(std::vector<std::uint64_t>{106}) == 1 ? opened.commit() : void(),
                    "has changed since it was opened");
    }
  }
  REQUIRE_ERROR(BinaryIndex::open(folder / "nowhere"), "no such file");
}

TEST_CASE("memory is what the parts take", "[binary_index]") {
  ThreadPool pool(1);
  const Matrix vectors = random_vectors(61, 64, 1024);
  const BinaryIndex index = make_index(vectors, 1, KeptVectors::None, pool);
  CHECK(index.bytes() == 64 * (1024 / 8 + 8 + 8));  // bits, corrections, ids
}

TEST_CASE("damaged, truncated and foreign files are refused", "[binary_index]") {
  ThreadPool pool(1);
  const test::TemporaryDirectory folder;
  const auto path = folder / "index";
  const Matrix vectors = random_vectors(62, 20, 24);
  make_index(vectors, 1, KeptVectors::Int8, pool).save(path);
  {
    BinaryIndex index = BinaryIndex::open(path);
    index.remove(std::vector<std::uint64_t>{103});
    index.commit();
  }
  const std::string good = test::read_bytes(path);
  const auto open_changed = [&](const std::string& bytes) {
    test::write_bytes(path, bytes);
    static_cast<void>(BinaryIndex::verify(path));
  };
  open_changed(good);
  // Every bit that counts is watched over: all but the padding.
  std::vector<bool> counts(good.size());
  const auto mark = [&](std::size_t begin, std::size_t size) {
    std::fill_n(counts.begin() + static_cast<std::ptrdiff_t>(begin), size, true);
  };
  mark(0, sizeof(index_file::FileHeader));
  mark(index_file::root_offset(0), sizeof(index_file::Root));
  mark(index_file::root_offset(1), sizeof(index_file::Root));
  mark(index_file::parameters_offset, 24 * sizeof(float));
  const auto view = index_file::read(test::as_bytes(good), "index");
  REQUIRE(view.records.size() == 2);
  for (const index_file::RecordView& record : view.records) {
    const auto begin = [&](std::size_t part) {
      return static_cast<std::size_t>(record.parts[part].data() - test::as_bytes(good).data());
    };
    mark(begin(index_file::Lists) - sizeof(index_file::RecordHeader),
         sizeof(index_file::RecordHeader));
    for (std::size_t part = 0; part < record.parts.size(); ++part) {
      mark(begin(part), record.parts[part].size());
    }
  }
  test::Random random(63);
  for (std::size_t at = 0; at < good.size(); ++at) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << test::random_integer(random, 0, 7)));
    const std::string error = test::error_of([&] { open_changed(bytes); });
    CAPTURE(at, error);
    CHECK(error.empty() != counts[at]);
    CHECK((error.empty() || error.find("index: ") != std::string::npos));
  }
  // What was committed before stays readable, and is not written over.
  {
    std::string bytes = good;
    bytes[index_file::root_offset(1)] ^= 4;
    test::write_bytes(path, bytes);
    BinaryIndex index = BinaryIndex::open(path);
    CHECK(index.size() == 20);
    index.remove(std::vector<std::uint64_t>{103});
    REQUIRE_ERROR(index.commit(), "the root of odd generations is damaged");
    CHECK(test::read_bytes(path) == bytes);
    index.save(path);
    CHECK(BinaryIndex::verify(path).size() == 19);
  }
  for (std::size_t size = 1; size < good.size(); size += size < 100 ? 1 : 61) {
    const std::string error = test::error_of([&] { open_changed(good.substr(0, size)); });
    CAPTURE(size, error);
    CHECK_FALSE(error.empty());
  }
  REQUIRE_ERROR(open_changed("not an index at all"), "is not a nibble index");
  REQUIRE_ERROR(open_changed(""), "empty");

  // Huge counts, with checksums that are right.
  for (const std::uint64_t count : {~std::uint64_t{0}, std::uint64_t{1} << 61, std::uint64_t{21}}) {
    std::string bytes = good;
    const std::size_t at = 4096 + 24 * 4 + 32;  // rounded up to 64: of the first record
    REQUIRE(bytes.substr(at, 4) == "rows");
    index_file::RecordHeader record;
    std::memcpy(&record, bytes.data() + at, sizeof record);
    record.count = count;
    record.checksum = index_file::checksum_before(record);
    std::memcpy(bytes.data() + at, &record, sizeof record);
    const std::string error = test::error_of([&] { open_changed(bytes); });
    CAPTURE(count, error);
    CHECK_FALSE(error.empty());
  }

  // A generation that has no next one, under a checksum that is right.
  std::string last = good;
  index_file::Root root;
  std::memcpy(&root, last.data() + index_file::root_offset(1), sizeof root);
  root.generation = ~std::uint64_t{0};
  root.checksum = index_file::checksum_before(root);
  std::memcpy(last.data() + index_file::root_offset(1), &root, sizeof root);
  REQUIRE_ERROR(open_changed(last), "the root is of generation 18446744073709551615");
}

TEST_CASE("ids that occur twice in a file are found", "[binary_index]") {
  ThreadPool pool(1);
  const test::TemporaryDirectory folder;
  const auto path = folder / "index";
  const Matrix vectors = random_vectors(67, 5, 8);
  BinaryIndex index(fit_index(vectors, 0, KeptVectors::None));
  index.save(path);
  const auto start = test::read_bytes(path);
  // Two writers' records, each good by itself, one behind the other.
  const RowStore store = RowStore::encode(ids_from(1, 5), vectors, RowEncoder(index.parameters()),
                                          pool, search_kernels<>(), {});
  index_file::Root root = index_file::find_root(test::as_bytes(start), "index");
  {
    UpdateFile file(path);
    const auto write_at = [&](std::uint64_t offset, std::span<const std::byte> bytes) {
      file.write_at(offset, bytes);
    };
    for (int i = 0; i < 2; ++i) {
      index_file::write_rows(store.count(), store.payload(), store.layout(), root, write_at);
    }
    index_file::write_root(root, write_at);
    file.force();
  }
  CHECK(BinaryIndex::open(path).size() == 10);
  REQUIRE_ERROR(BinaryIndex::verify(path), "index: id 1 occurs twice");
}

TEST_CASE("many ids in any order are added, removed and added again", "[binary_index]") {
  ThreadPool pool(2);
  const Matrix vectors = random_vectors(68, 60, 8);
  BinaryIndex index(fit_index(vectors, 0, KeptVectors::None));
  std::vector<std::uint64_t> expected;
  test::Random random(69);
  for (int round = 0; round < 40; ++round) {
    std::vector<std::uint64_t> ids;
    for (int i = 0; i < 12; ++i) {
      const auto id = test::random_integer<std::uint64_t>(random, 0, 400);
      const auto is_id = [&](std::uint64_t other) { return other == id; };
      if (std::ranges::none_of(expected, is_id) && std::ranges::none_of(ids, is_id)) {
        ids.push_back(id);
      }
    }
    index.add(ids, vectors.topRows(static_cast<Index>(ids.size())), pool);
    expected.insert(expected.end(), ids.begin(), ids.end());
    REQUIRE(index.ids() == expected);
    const std::uint64_t there = expected[static_cast<std::size_t>(round)];
    REQUIRE_ERROR(index.add(std::vector<std::uint64_t>{999, there}, vectors.topRows(2), pool),
                  "is there already");
    for (std::size_t i = 0; i < expected.size(); i += 5) {
      REQUIRE(index.remove(std::vector<std::uint64_t>{expected[i]}) == 1);
      REQUIRE(index.remove(std::vector<std::uint64_t>{expected[i]}) == 0);
      expected.erase(expected.begin() + static_cast<std::ptrdiff_t>(i));
    }
    REQUIRE(index.ids() == expected);
  }
}

TEST_CASE("sign bits go in and out as they are", "[binary_index]") {
  ThreadPool pool(1);
  const Matrix vectors = random_vectors(70, 20, 21);
  const ByteMatrix bits = pack_signs(vectors);
  BinaryIndex index(fit_index(vectors, 0, KeptVectors::None)), other(index.parameters());
  index.add(ids_from(1, 20), vectors, pool);
  CHECK(index.sign_bits() == bits);
  other.add_bits(ids_from(1, 20), bits);
  CHECK(everything(other, pool) == everything(index, pool));
  index.remove(std::vector<std::uint64_t>{1, 7});
  CHECK(index.sign_bits().row(0) == bits.row(1));
  CHECK(index.sign_bits().rows() == 18);
  REQUIRE_ERROR(other.add_bits(ids_from(1, 1), bits), "1 ids for 20 codes");
  REQUIRE_ERROR(other.add_bits(ids_from(1, 20), bits), "id 1 is there already");
  REQUIRE_ERROR(other.add_bits(ids_from(99, 20), bits.leftCols(2)), "codes of 2 bytes, expected 3");
  ByteMatrix beyond = bits.topRows(2);
  beyond(1, 2) = static_cast<std::uint8_t>(beyond(1, 2) | 1);
  REQUIRE_ERROR(other.add_bits(ids_from(99, 2), beyond), "code 1: has bits beyond 21 dimensions");
  const BinaryIndex rabitq = make_index(vectors, 1, KeptVectors::None, pool);
  REQUIRE_ERROR(rabitq.sign_bits(), "expected plain sign bits");
  CHECK(other.size() == 20);
}

TEST_CASE("adding, saving and verifying can be cancelled", "[binary_index]") {
  ThreadPool pool(1);
  const test::TemporaryDirectory folder;
  const auto path = folder / "index";
  const Matrix vectors = random_vectors(71, 30, 8);
  BinaryIndex index = make_index(vectors, 1, KeptVectors::Int8, pool);
  const Progress cancel = [](std::string_view, Index, Index) { return false; };
  CHECK_THROWS_AS(index.add(ids_from(1, 30), vectors, pool, search_kernels<>(), cancel), Cancelled);
  CHECK(index.size() == 30);
  CHECK_THROWS_AS(index.save(path, cancel), Cancelled);
  CHECK(test::entries(folder) == 0);
  index.save(path);
  CHECK_THROWS_AS(BinaryIndex::verify(path, cancel), Cancelled);
}

TEST_CASE("an append that was cut short leaves what was there", "[binary_index]") {
  ThreadPool pool(1);
  const test::TemporaryDirectory folder;
  const auto path = folder / "index";
  const Matrix vectors = random_vectors(64, 20, 24);
  make_index(vectors, 1, KeptVectors::Int8, pool).save(path);
  const std::string before = test::read_bytes(path);
  const auto old_rows = everything(BinaryIndex::open(path), pool);
  BinaryIndex index = BinaryIndex::open(path);
  index.add(ids_from(1, 20), vectors, pool);
  index.commit();
  const std::string after = test::read_bytes(path);
  const auto new_rows = everything(index, pool);

  // The data is written before the root, and forced to the disk in between.
  const std::size_t root = index_file::root_offset(1);
  for (std::size_t size = before.size(); size <= after.size(); size += 97) {
    std::string bytes = after.substr(0, size);
    bytes.replace(root, 64, before, root, 64);
    test::write_bytes(path, bytes);
    CHECK(everything(BinaryIndex::open(path), pool) == old_rows);
  }
  for (std::size_t written = 0; written <= 64; ++written) {
    std::string bytes = after;
    bytes.replace(root + written, 64 - written, before, root + written, 64 - written);
    test::write_bytes(path, bytes);
    const auto rows = everything(BinaryIndex::open(path), pool);
    CHECK((rows == old_rows || rows == new_rows));
    CHECK((written < 64 || rows == new_rows));
  }
}

TEST_CASE("a writer that is killed loses nothing that was committed", "[binary_index]") {
  ThreadPool pool(1);
  const test::TemporaryDirectory folder;
  const auto path = folder / "index";
  const Matrix vectors = random_vectors(65, 10, 64);
  make_index(vectors, 1, KeptVectors::Int8, pool).save(path);
  Index size = 10;
  for (int round = 0; round < 5; ++round) {
    int done[2];
    REQUIRE(::pipe(done) == 0);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      try {
        ThreadPool own(1);
        BinaryIndex index = BinaryIndex::open(path);
        for (std::uint64_t first = 1000;; first += 1) {
          index.add({{first * 1000 + static_cast<std::uint64_t>(index.rows())}}, vectors.topRows(1),
                    own);
          index.commit();
          const char byte = 0;
          if (::write(done[1], &byte, 1) != 1) ::_exit(1);
        }
      } catch (...) {
        ::_exit(2);
      }
    }
    ::close(done[1]);
    char bytes[8];
    Index committed = 0;
    while (committed < 8) {
      CHECK(BinaryIndex::open(path).size() >= size);  // while it is appended to
      const auto count = ::read(done[0], bytes, sizeof bytes);
      REQUIRE(count > 0);
      committed += count;
    }
    ::kill(child, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status));
    for (ssize_t count = 1; count > 0;) {
      count = ::read(done[0], bytes, sizeof bytes);
      committed += std::max<ssize_t>(count, 0);
    }
    ::close(done[0]);
    BinaryIndex::verify(path);
    const Index found = BinaryIndex::open(path).size();
    CHECK(found >= size + committed);
    CHECK(found <= size + committed + 1);
    size = found;
  }
}

TEST_CASE("a second writer is told", "[binary_index]") {
  ThreadPool pool(1);
  const test::TemporaryDirectory folder;
  const auto path = folder / "index";
  const Matrix vectors = random_vectors(66, 10, 8);
  make_index(vectors, 0, KeptVectors::None, pool).save(path);
  BinaryIndex first = BinaryIndex::open(path), second = BinaryIndex::open(path);
  first.add(ids_from(1, 2), vectors.topRows(2), pool);
  second.add(ids_from(2, 2), vectors.topRows(2), pool);
  {
    const UpdateFile lock(path);
    REQUIRE_ERROR(first.commit(), "is being written by another");
    REQUIRE_ERROR(second.save(path), "is being written by another");
  }
  first.commit();
  REQUIRE_ERROR(second.commit(), "has changed since it was opened");
  CHECK(BinaryIndex::open(path).size() == 12);
}

TEST_CASE("nothing is appended to a file that was replaced, or of other parameters",
          "[binary_index]") {
  ThreadPool pool(1);
  const test::TemporaryDirectory folder;
  const auto path = folder / "index";
  const Matrix vectors = random_vectors(72, 10, 8), other = random_vectors(73, 10, 8);
  BinaryIndex(fit_index(vectors, 1, KeptVectors::None)).save(path);
  BinaryIndex opened = BinaryIndex::open(path);
  opened.add(ids_from(1, 10), vectors, pool);
  BinaryIndex(fit_index(other, 1, KeptVectors::None)).save(path);  // as empty as the former
  REQUIRE_ERROR(opened.commit(), "has changed since it was opened");

  BinaryIndex own = BinaryIndex::open(path);
  own.add(ids_from(1, 10), vectors, pool);
  test::write_bytes(folder / ".index.partial-01234567", "of a killed writer");
  own.save(path);
  CHECK(test::entries(folder) == 1);
  REQUIRE_ERROR(own.commit(), "has changed since it was opened");
  CHECK(BinaryIndex::open(path).size() == 10);
}
