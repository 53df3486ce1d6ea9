// How many of the truly nearest a search finds, and vectors of texts to look at that with.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/thread_pool.hpp>
#include <nibble/dispatch/dispatch.hpp>
#include <nibble/search/binary_index.hpp>
#include <nibble/search/static_embedding.hpp>

#include "common/passage_folder.hpp"

namespace nibble::example {

/// Shares of the exactly nearest that are found: by the codes alone, and with twice and four times
/// as many candidates re-ranked by kept vectors.
inline constexpr std::array<double, 3> recall_oversamplings{0, 2, 4};
using SearchRecall = std::array<double, recall_oversamplings.size()>;

/// The exactly nearest rows of some queries, of rows that come in pieces.
class ExactNeighbours {
 public:
  ExactNeighbours(Matrix queries, std::size_t count)
      : queries_(std::move(queries)),
        nearest_(static_cast<std::size_t>(queries_.rows()), Nearest(count)) {}

  [[nodiscard]] const Matrix& queries() const noexcept { return queries_; }

  /// Rows whose ids are their numbers from `first` on. Where the queries are the rows themselves,
  /// none is its own neighbour.
  void add(const Vectors& rows, Index first, bool rows_are_queries, ExecutorRef pool) {
    pool.run(queries_.rows(), [&](Index q, int) {
      const Eigen::VectorXf products = rows * queries_.row(q).transpose();
      for (Index i = 0; i < products.size(); ++i) {
        if (rows_are_queries && first + i == q) continue;
        nearest_[static_cast<std::size_t>(q)].add(
            {static_cast<std::uint64_t>(first + i), products[i], first + i});
      }
    });
  }

  /// The share of the exactly nearest that are among what was found for each query.
  [[nodiscard]] double recall(std::span<const std::vector<Neighbour>> found) const {
    std::size_t hits = 0, all = 0;
    for (std::size_t q = 0; q < found.size(); ++q) {
      const auto wanted = nearest_[q].kept();
      for (const Neighbour& each : found[q]) {
        hits += std::ranges::count(wanted, each.id, &Neighbour::id) > 0 ? 1U : 0U;
      }
      all += wanted.size();
    }
    return static_cast<double>(hits) / static_cast<double>(all);
  }

 private:
  Matrix queries_;
  std::vector<Nearest> nearest_;
};

/// Ids that are the numbers of rows.
[[nodiscard]] inline std::vector<std::uint64_t> row_numbers(Index first, Index count) {
  std::vector<std::uint64_t> ids(static_cast<std::size_t>(count));
  std::iota(ids.begin(), ids.end(), static_cast<std::uint64_t>(first));
  return ids;
}

/// The vectors of the passages of text files, cut to `dims`, of length 1. Throws Error for less
/// than two passages.
[[nodiscard]] inline Matrix embed_passages(const std::vector<std::string>& files,
                                           const std::string& model, Index dims, ThreadPool& pool,
                                           const Progress& progress) {
  const std::vector<Passage> passages = read_passages(files, cut_passages);
  if (passages.size() < 2) fail(files.front(), ": holds less than two passages");
  std::vector<std::string_view> texts;
  for (const Passage& passage : passages) texts.push_back(passage.text);
  return StaticEmbedding::load(model).embed(texts, pool, {.dims = dims, .normalize = true},
                                            progress);
}

/// What is found of each of some vectors, whose ids are their numbers, among the others.
[[nodiscard]] inline std::vector<std::vector<Neighbour>> search_others(const Matrix& vectors,
                                                                       const BinaryIndex& index,
                                                                       const SearchOptions& options,
                                                                       ThreadPool& pool) {
  ThreadPool alone(1);  // for one query; `pool` splits the queries
  std::vector<std::vector<Neighbour>> found(static_cast<std::size_t>(vectors.rows()));
  pool.run(vectors.rows(), [&](Index q, int) {
    SearchOptions others = options;
    others.filter = [q](std::uint64_t id) { return id != static_cast<std::uint64_t>(q); };
    found[static_cast<std::size_t>(q)] =
        index.search(vectors.middleRows(q, 1), others, alone, dispatch::best_search()).front();
  });
  return found;
}

/// Recall where each vector is looked for among the others, and re-ranking is exact; once for each
/// rotation of the seeds 1 to `seeds`. The oversampling of the options is of no account.
[[nodiscard]] inline std::vector<SearchRecall> recall_among(const Matrix& vectors, int bits,
                                                            int seeds, const SearchOptions& options,
                                                            ThreadPool& pool) {
  ExactNeighbours exact(vectors, options.count);
  exact.add(vectors, 0, true, pool);
  std::vector<SearchRecall> recalls;
  SearchOptions search = options;
  for (int seed = 1; seed <= seeds; ++seed) {
    BinaryIndex index(
        fit_index(vectors, bits, KeptVectors::Float32, static_cast<std::uint64_t>(seed)));
    index.add(row_numbers(0, vectors.rows()), vectors, pool);
    SearchRecall recall{};
    for (std::size_t i = 0; i < recall.size(); ++i) {
      search.oversampling = recall_oversamplings[i];
      recall[i] = exact.recall(search_others(vectors, index, search, pool));
    }
    recalls.push_back(recall);
  }
  return recalls;
}

}  // namespace nibble::example
