// nibble-search-peers: search beside FAISS and a plain loop of std::popcount, in one run.
//
// The same made vectors for all: sign bits, which all three search exactly, and floats, which FAISS
// searches exactly and nibble by RaBitQ codes with int8 vectors to re-rank. The machine's read
// bandwidth is measured between the samples.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iostream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <faiss/IndexBinaryFlat.h>
#include <faiss/IndexFlat.h>
#include <omp.h>
#include <CLI/CLI.hpp>

#include <nibble/core/random.hpp>
#include <nibble/core/thread_pool.hpp>
#include <nibble/dispatch/dispatch.hpp>
#include <nibble/search/binary_index.hpp>

#include "common/clustered_vectors.hpp"
#include "common/machine_limits.hpp"
#include "common/median.hpp"
#include "common/numbers.hpp"
#include "common/options.hpp"
#include "common/report.hpp"
#include "common/run_main.hpp"
#include "common/search_recall.hpp"
#include "common/seconds_of.hpp"

namespace {

using namespace nibble;
using namespace nibble::example;

constexpr Index dims = 1024, words = dims / 64, batch = 64;
constexpr std::size_t neighbours = 10;

struct Options {
  Index rows = 1000000, float_rows = 100000;
  int rounds = 5;
  std::vector<int> threads{1, 2};
  bool json = false;
};

/// Packed bits, [rows][words]: each row one of a thousand centres with a fourth of its bits turned.
std::vector<std::uint64_t> clustered_bits(Index rows) {
  constexpr std::uint64_t centres = 1000;
  std::vector<std::uint64_t> bits(static_cast<std::size_t>(rows * words));
  Random random(1);
  for (Index i = 0; i < rows; ++i) {
    Random centre(1 + random.next() % centres);
    for (Index j = 0; j < words; ++j) {
      bits[static_cast<std::size_t>(i * words + j)] =
          centre.next() ^ (random.next() & random.next());
    }
  }
  return bits;
}

const std::uint8_t* bytes_of(const std::vector<std::uint64_t>& bits) {
  return reinterpret_cast<const std::uint8_t*>(bits.data());
}

/// Vectors of +1 and -1 whose sign bits are some rows of the bits.
Matrix as_floats(const std::vector<std::uint64_t>& bits, Index first, Index count) {
  Matrix vectors(count, dims);
  const std::uint8_t* bytes = bytes_of(bits) + first * dims / 8;
  for (Index i = 0; i < count * dims; ++i) {
    vectors.data()[i] = ((bytes[i / 8] >> (7 - i % 8)) & 1) != 0 ? 1.0F : -1.0F;
  }
  return vectors;
}

/// Distances of the nearest, the least first.
using Distances = std::vector<std::int32_t>;

/// What anybody would write: a loop over the rows, threads splitting them.
Distances popcount_scan(const std::vector<std::uint64_t>& bits, const std::uint64_t* query,
                        ThreadPool& pool) {
  const auto rows = static_cast<Index>(bits.size()) / words;
  std::vector<Distances> nearest(static_cast<std::size_t>(pool.size()));
  pool.run(pool.size(), [&](Index task, int) {
    Distances& heap = nearest[static_cast<std::size_t>(task)];
    for (Index i = rows * task / pool.size(); i < rows * (task + 1) / pool.size(); ++i) {
      const std::uint64_t* row = bits.data() + i * words;
      std::int32_t distance = 0;
      for (Index j = 0; j < words; ++j) distance += std::popcount(row[j] ^ query[j]);
      if (heap.size() == neighbours) {
        if (distance >= heap.front()) continue;
        std::ranges::pop_heap(heap);
        heap.pop_back();
      }
      heap.push_back(distance);
      std::ranges::push_heap(heap);
    }
  });
  Distances all;
  for (const Distances& each : nearest) all.insert(all.end(), each.begin(), each.end());
  std::ranges::sort(all);
  all.resize(std::min(all.size(), neighbours));
  return all;
}

/// Something that is timed, for a query alone and for one of 64.
struct Subject {
  std::string name;
  std::function<void(Index count)> search;  // the first `count` queries
  double bytes = 0;                         // that a query alone reads
  std::vector<double> one = {}, many = {}, share = {};
};

/// Rounds of all subjects in turn, each query alone between two readings of the bandwidth. Returns
/// the readings.
std::vector<double> sample(std::vector<Subject>& subjects, const MachineLimits& machine,
                           int rounds) {
  std::vector<double> readings{machine.read_bandwidth()};
  for (Subject& subject : subjects) subject.search(1);  // warms up
  for (int round = 0; round < rounds; ++round) {
    for (Subject& subject : subjects) {
      readings.push_back(machine.read_bandwidth());
      const double before = readings.back();
      subject.one.push_back(seconds_of([&] { subject.search(1); }));
      readings.push_back(machine.read_bandwidth());
      subject.share.push_back(subject.bytes / subject.one.back() /
                              ((before + readings.back()) / 2));
      subject.many.push_back(seconds_of([&] { subject.search(batch); }) /
                             static_cast<double>(batch));
    }
  }
  return readings;
}

Json describe(const std::vector<Subject>& subjects) {
  Json all = Json::array();
  for (const Subject& subject : subjects) {
    all.push_back({{"name", subject.name},
                   {"seconds_per_query", median(subject.one)},
                   {"seconds_per_query_of_64", median(subject.many)},
                   {"share_of_read_bandwidth", median(subject.share)}});
  }
  return all;
}

void print(const std::string& title, const std::vector<Subject>& subjects) {
  Table table{{title, "one query ms", "% of read", "of 64, ms", "times as fast"}};
  for (const Subject& each : subjects) {
    const double one = median(each.one), many = median(each.many);
    table.push_back({each.name, significant(1e3 * one), fixed(100 * median(each.share), 1),
                     significant(1e3 * many), fixed(one / many, 2)});
  }
  std::cout << aligned_table(table) << '\n';
}

/// Sign bits against sign bits.
class BitsComparison {
 public:
  BitsComparison(Index rows, ThreadPool& pool)
      : bits_(clustered_bits(rows + batch)),
        queries_(bits_.end() - batch * words, bits_.end()),
        faiss_(dims),
        index_(IndexParameters{dims, 0, 1, KeptVectors::None, {}, {}}) {
    bits_.resize(static_cast<std::size_t>(rows * words));
    float_queries_ = as_floats(queries_, 0, batch);
    faiss_.add(rows, bytes_of(bits_));
    constexpr Index piece = 65536;
    for (Index first = 0; first < rows; first += piece) {
      const Index count = std::min(piece, rows - first);
      index_.add(row_numbers(first, count), as_floats(bits_, first, count), pool);
    }
  }

  [[nodiscard]] std::vector<Subject> subjects(ThreadPool& pool) {
    const double bytes = static_cast<double>(bits_.size() * sizeof bits_[0]);
    return {
        {"nibble, sign bits", [&](Index count) { static_cast<void>(search(count, pool)); }, bytes},
        {"std::popcount",
         [&](Index count) {
           for (Index q = 0; q < count; ++q) {
             static_cast<void>(popcount_scan(bits_, queries_.data() + q * words, pool));
           }
         },
         bytes},
        {"FAISS IndexBinaryFlat", [&](Index count) { static_cast<void>(faiss_search(count)); },
         bytes}};
  }

  /// Throws Error where the three do not find neighbours of the same distances.
  void check(ThreadPool& pool) {
    const auto ours = search(batch, pool);
    const auto theirs = faiss_search(batch);
    for (Index q = 0; q < batch; ++q) {
      Distances distances;
      for (const Neighbour& each : ours[static_cast<std::size_t>(q)]) {
        distances.push_back(static_cast<std::int32_t>(
            std::lround((1 - static_cast<double>(each.score)) * (dims / 2))));
      }
      const auto from = theirs.begin() + q * static_cast<Index>(neighbours);
      if (!std::equal(distances.begin(), distances.end(), from) ||
          distances != popcount_scan(bits_, queries_.data() + q * words, pool)) {
        fail("query ", q, ": distances differ");
      }
    }
  }

 private:
  [[nodiscard]] std::vector<std::vector<Neighbour>> search(Index count, ThreadPool& pool) const {
    const SearchOptions options{
        .count = neighbours, .query_bits = 1, .oversampling = 0, .filter = {}};
    return index_.search(float_queries_.topRows(count), options, pool, dispatch::best_search());
  }
  [[nodiscard]] Distances faiss_search(Index count) const {
    Distances distances(static_cast<std::size_t>(count) * neighbours);
    std::vector<faiss::Index::idx_t> ids(distances.size());
    faiss_.search(count, bytes_of(queries_), neighbours, distances.data(), ids.data());
    return distances;
  }

  std::vector<std::uint64_t> bits_, queries_;
  Matrix float_queries_;
  faiss::IndexBinaryFlat faiss_;
  BinaryIndex index_;
};

/// Floats, exactly by FAISS and from bits by nibble.
class FloatsComparison {
 public:
  FloatsComparison(Index rows, ThreadPool& pool)
      : exact_(clustered_vectors(batch, dims, 1000, 1, pool, rows), neighbours), faiss_(dims) {
    const Matrix vectors = clustered_vectors(rows, dims, 1000, 1, pool);
    exact_.add(vectors, 0, false, pool);
    faiss_.add(rows, vectors.data());
    index_.emplace(fit_index(vectors, 1, KeptVectors::Int8));
    index_->add(row_numbers(0, rows), vectors, pool);
  }

  [[nodiscard]] std::vector<Subject> subjects(ThreadPool& pool) {
    const auto rows = static_cast<double>(index_->rows());
    return {{"nibble, 1 bit, 40 re-ranked by int8",
             [&](Index count) { static_cast<void>(search(count, pool)); }, rows * (dims / 8 + 8)},
            {"FAISS IndexFlatIP", [&](Index count) { static_cast<void>(faiss_search(count)); },
             rows * dims * sizeof(float)}};
  }

  [[nodiscard]] double recall(ThreadPool& pool) const { return exact_.recall(search(batch, pool)); }
  [[nodiscard]] double faiss_recall() const { return exact_.recall(faiss_search(batch)); }

 private:
  [[nodiscard]] std::vector<std::vector<Neighbour>> search(Index count, ThreadPool& pool) const {
    const SearchOptions options{
        .count = neighbours, .query_bits = 0, .oversampling = 4, .filter = {}};
    return index_->search(exact_.queries().topRows(count), options, pool, dispatch::best_search());
  }
  [[nodiscard]] std::vector<std::vector<Neighbour>> faiss_search(Index count) const {
    std::vector<float> scores(static_cast<std::size_t>(count) * neighbours);
    std::vector<faiss::Index::idx_t> ids(scores.size());
    faiss_.search(count, exact_.queries().data(), neighbours, scores.data(), ids.data());
    std::vector<std::vector<Neighbour>> found(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < ids.size(); ++i) {
      found[i / neighbours].push_back({static_cast<std::uint64_t>(ids[i]), scores[i], ids[i]});
    }
    return found;
  }

  ExactNeighbours exact_;
  faiss::IndexFlatIP faiss_;
  std::optional<BinaryIndex> index_;
};

void compare(const Options& options) {
  ThreadPool builders;
  std::optional<BitsComparison> bits;
  std::optional<FloatsComparison> floats;
  if (options.rows > 0) bits.emplace(options.rows, builders);
  if (options.float_rows > 0) floats.emplace(options.float_rows, builders);
  Json json{{"program", "nibble-search-peers"},
            {"isa", dispatch::best_search().isa},
            {"rows", options.rows},
            {"float_rows", options.float_rows},
            {"runs", Json::array()}};
  for (const int threads : options.threads) {
    ThreadPool pool(threads);
    omp_set_num_threads(threads);
    const MachineLimits machine(dispatch::best().isa, threads);
    Json run{{"threads", threads}};
    const auto measure = [&](auto& comparison, const char* key, const std::string& title) {
      std::vector<Subject> subjects = comparison.subjects(pool);
      const double read = median(sample(subjects, machine, options.rounds));
      run[key] = describe(subjects);
      run[concat(key, "_read_bandwidth")] = read;
      if (!options.json) {
        print(concat(title, ", ", threads, threads == 1 ? " thread" : " threads", ", ",
                     fixed(read / 1e9, 1), " GB/s"),
              subjects);
      }
    };
    if (bits) {
      bits->check(pool);
      measure(*bits, "bits", concat(options.rows, " x ", dims, " bits"));
    }
    if (floats) {
      measure(*floats, "floats", concat(options.float_rows, " x ", dims, " floats"));
      json["recall"] = floats->recall(pool);
      json["faiss_recall"] = floats->faiss_recall();
    }
    json["runs"].push_back(std::move(run));
  }
  if (options.json) {
    std::cout << json_text(json);
    return;
  }
  if (bits) std::cout << "sign bits: all three find neighbours of the same distances\n";
  if (floats) {
    std::cout << "floats: recall@10 of nibble " << fixed(json["recall"].get<double>(), 3)
              << ", of FAISS " << fixed(json["faiss_recall"].get<double>(), 3) << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Compares search with FAISS, in one run.", "nibble-search-peers");
  Options options;
  app.add_option("--rows", options.rows, "Vectors of 1,024 bits; 0: none")
      ->check(at_least(0))
      ->capture_default_str();
  app.add_option("--float-rows", options.float_rows, "Vectors of 1,024 floats; 0: none")
      ->check(at_least(0))
      ->capture_default_str();
  app.add_option("--threads", options.threads, "Numbers of threads, separated by commas")
      ->delimiter(',')
      ->check(at_least(1))
      ->capture_default_str();
  app.add_option("--rounds", options.rounds, "Rounds of timings, whose median counts")
      ->check(at_least(1))
      ->capture_default_str();
  app.add_flag("--json", options.json, "Print one JSON object on standard output");
  return run_main(app, argc, argv, [&] { compare(options); });
}
