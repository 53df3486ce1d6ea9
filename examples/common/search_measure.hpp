// What nibble-search bench measures of codes of several widths.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <nibble/core/function_ref.hpp>
#include <nibble/io/output_file.hpp>

#include "common/clustered_vectors.hpp"
#include "common/machine_limits.hpp"
#include "common/median.hpp"
#include "common/report.hpp"
#include "common/resident_memory.hpp"
#include "common/search_bench.hpp"
#include "common/search_recall.hpp"
#include "common/seconds_of.hpp"

namespace nibble::example {

/// What is measured of one width.
struct SearchBenchRow {
  int bits = 0;
  double bytes = 0;          // of a row in the index
  double scanned_bytes = 0;  // of these, that a scan reads
  std::vector<SearchRecall> recalls;

  // Of made vectors only.
  double adds_per_second = 0;
  std::optional<double> resident_bytes;  // of a row: what the process grew by when it was added
  std::optional<double> mapped_bytes;    // the same of the saved index, mapped and verified
  double open_seconds = 0;               // of the saved index, mapped
  double one_seconds = 0, batch_seconds = 0;  // for a query alone, and for one of 64 together
  double share_of_read = 0;                   // of the read bandwidth, that a query alone reaches

  [[nodiscard]] std::string name() const {
    return bits == 0 ? "sign bits" : concat(bits, bits == 1 ? " bit" : " bits");
  }
};

namespace search_measure_detail {

inline constexpr Index batch = 64;

/// A file that is gone with the object, or before where the system lets open files be removed.
struct TemporaryFile {
  std::filesystem::path path;
  void remove() const {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
  ~TemporaryFile() { remove(); }
};

/// What the process grew by during a call, for each of some rows.
[[nodiscard]] inline std::optional<double> growth_per_row(Index rows, FunctionRef<void()> body) {
  const auto before = resident_memory();
  body();
  const auto after = resident_memory();
  if (!before || !after) return std::nullopt;
  return (static_cast<double>(*after) - static_cast<double>(*before)) / static_cast<double>(rows);
}

[[nodiscard]] inline SearchBenchRow describe(const RowEncoder& encoder) {
  const RowBytes bytes = encoder.row_bytes();
  SearchBenchRow row;
  row.bits = encoder.parameters().code_bits;
  row.scanned_bytes = static_cast<double>(bytes.code + bytes.correction);
  row.bytes = row.scanned_bytes + static_cast<double>(bytes.vector) +
              static_cast<double>(sizeof(std::uint64_t));
  return row;
}

/// An index and what was measured of it.
struct Subject {
  BinaryIndex index;
  SearchBenchRow row;
};

/// Builds the indexes of all widths from vectors that are made piece by piece, so that only a piece
/// of them is in memory.
[[nodiscard]] inline std::vector<Subject> build(const SearchBenchOptions& options,
                                                ExactNeighbours& exact, ThreadPool& pool,
                                                const Progress& progress) {
  constexpr Index piece = 65536;
  std::vector<Subject> subjects;
  std::vector<double> seconds;  // that each took to add all
  for (Index first = 0; first < options.rows; first += piece) {
    report(progress, "vectors", first, options.rows);
    const Index count = std::min(piece, options.rows - first);
    const Matrix vectors = clustered_vectors(count, options.dims, options.clusters, 1, pool, first);
    if (first == 0) {
      for (const int bits : options.bits) {
        const RowEncoder encoder(fit_index(vectors, bits, options.kept.value()));
        subjects.push_back({BinaryIndex(encoder.parameters()), describe(encoder)});
      }
    }
    exact.add(vectors, first, false, pool);
    const auto ids = row_numbers(first, count);
    seconds.resize(subjects.size());
    for (std::size_t i = 0; i < subjects.size(); ++i) {
      auto& [index, row] = subjects[i];
      const auto grown = growth_per_row(options.rows, [&, &index = index] {
        const Stopwatch stopwatch;
        index.add(ids, vectors, pool, dispatch::best_search());
        seconds[i] += stopwatch.seconds();
      });
      if (grown) row.resident_bytes = row.resident_bytes.value_or(0) + *grown;
    }
  }
  for (std::size_t i = 0; i < subjects.size(); ++i) {
    subjects[i].row.adds_per_second = static_cast<double>(options.rows) / seconds[i];
  }
  report(progress, "vectors", options.rows, options.rows);
  return subjects;
}

/// The time to open an index as a mapped file, and the memory that it takes when all is read.
inline void measure_file(Subject& subject, const Progress& progress) {
  const TemporaryFile file{
      sibling_path(std::filesystem::temp_directory_path() / "nibble-search-bench", "index")};
  subject.index.save(file.path, progress);
  subject.row.open_seconds = seconds_of([&] { static_cast<void>(BinaryIndex::open(file.path)); });
  std::optional<BinaryIndex> mapped;
  subject.row.mapped_bytes = growth_per_row(subject.index.rows(), [&] {
    mapped = BinaryIndex::verify(file.path, progress);
    file.remove();
  });
}

/// Recall, and times in rounds: each width in turn, between two readings of the bandwidth.
inline void measure(std::vector<Subject>& subjects, const SearchBenchOptions& options,
                    const ExactNeighbours& exact, ThreadPool& pool, const Progress& progress) {
  const SearchKernels& kernels = dispatch::best_search();
  const Matrix& queries = exact.queries();
  SearchOptions search = options.search;
  const std::size_t oversamplings =
      options.kept.value() == KeptVectors::None ? 1 : recall_oversamplings.size();
  for (auto& [index, row] : subjects) {
    SearchRecall recall{};
    for (std::size_t i = 0; i < oversamplings; ++i) {
      search.oversampling = recall_oversamplings[i];
      recall[i] = exact.recall(index.search(queries, search, pool, kernels));
    }
    row.recalls = {recall};
  }
  for (Subject& subject : subjects) measure_file(subject, progress);

  const MachineLimits machine(dispatch::best().isa, pool.size());
  std::vector<std::vector<double>> one(subjects.size()), many(one), share(one);
  double read = machine.read_bandwidth();
  for (int round = 0; round < options.repeat; ++round) {
    report(progress, "searches", round, options.repeat);
    for (std::size_t i = 0; i < subjects.size(); ++i) {
      const auto seconds_of_queries = [&](Index count) {
        return seconds_of([&] {
          static_cast<void>(
              subjects[i].index.search(queries.topRows(count), search, pool, kernels));
        });
      };
      one[i].push_back(seconds_of_queries(1));
      const double before = std::exchange(read, machine.read_bandwidth());
      const double bytes = subjects[i].row.scanned_bytes * static_cast<double>(options.rows);
      share[i].push_back(bytes / one[i].back() / ((before + read) / 2));
      many[i].push_back(seconds_of_queries(batch) / static_cast<double>(batch));
      read = machine.read_bandwidth();
    }
  }
  report(progress, "searches", options.repeat, options.repeat);
  for (std::size_t i = 0; i < subjects.size(); ++i) {
    subjects[i].row.one_seconds = median(one[i]);
    subjects[i].row.batch_seconds = median(many[i]);
    subjects[i].row.share_of_read = median(share[i]);
  }
}

}  // namespace search_measure_detail

/// Recall, size and speed on made vectors.
[[nodiscard]] inline std::vector<SearchBenchRow> bench_made(const SearchBenchOptions& options,
                                                            ThreadPool& pool,
                                                            const Progress& progress) {
  using namespace search_measure_detail;
  ExactNeighbours exact(
      clustered_vectors(batch, options.dims, options.clusters, 1, pool, options.rows),
      options.search.count);
  std::vector<Subject> subjects = build(options, exact, pool, progress);
  measure(subjects, options, exact, pool, progress);
  std::vector<SearchBenchRow> rows;
  for (Subject& subject : subjects) rows.push_back(std::move(subject.row));
  return rows;
}

/// Recall and size on the passages of texts, which the options are told the number of; vectors are
/// kept in float32.
[[nodiscard]] inline std::vector<SearchBenchRow> bench_texts(SearchBenchOptions& options,
                                                             ThreadPool& pool,
                                                             const Progress& progress) {
  using search_measure_detail::describe;
  const Matrix vectors = embed_passages(options.texts, options.model, options.dims, pool, progress);
  options.rows = vectors.rows();
  options.dims = vectors.cols();
  options.kept.name = kept_vectors_names[static_cast<std::size_t>(KeptVectors::Float32)];
  std::vector<SearchBenchRow> rows;
  for (const int bits : options.bits) {
    report(progress, "recall", static_cast<Index>(rows.size()),
           static_cast<Index>(options.bits.size()));
    rows.push_back(describe(RowEncoder(fit_index(vectors, bits, options.kept.value()))));
    // Sign bits are not rotated.
    rows.back().recalls =
        recall_among(vectors, bits, bits == 0 ? 1 : options.seeds, options.search, pool);
  }
  report(progress, "recall", 1, 1);
  return rows;
}

}  // namespace nibble::example
