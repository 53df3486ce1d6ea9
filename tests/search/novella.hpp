// The passages of a book with their vectors, and how well a ranking finds the nearest of them.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <nibble/core/thread_pool.hpp>
#include <nibble/io/text_file.hpp>
#include <nibble/search/nearest.hpp>
#include <nibble/search/passages.hpp>
#include <nibble/search/static_embedding.hpp>

namespace nibble::test {

/// Unit vectors, a passage a row.
inline Matrix book_vectors(const std::filesystem::path& model, const std::filesystem::path& book) {
  const auto passages = cut_passages(read_text_file(book));
  const std::vector<std::string_view> texts(passages.begin(), passages.end());
  ThreadPool pool;
  return StaticEmbedding::load(model).embed(texts, pool, {.dims = 0, .normalize = true});
}

/// The ids of the `count` rows with the highest scores for row `query`, itself left out.
inline std::vector<std::uint64_t> ranked(Index rows, Index query, std::size_t count,
                                         const std::function<float(Index)>& score) {
  Nearest nearest(count);
  for (Index i = 0; i < rows; ++i) {
    if (i != query) nearest.add({static_cast<std::uint64_t>(i), score(i), i});
  }
  std::vector<std::uint64_t> ids;
  for (const Neighbour& each : std::move(nearest).take()) ids.push_back(each.id);
  return ids;
}

/// Mean recall of the exact 10 nearest, of the first 10 ranked and of exact re-ranking of the first
/// 20 and 40; `score` takes query and row.
struct Recall {
  double plain = 0, rescored_2x = 0, rescored_4x = 0;
};

inline Recall recall_at_10(const Matrix& vectors,
                           const std::function<float(Index query, Index row)>& score) {
  Recall recall;
  const Index rows = vectors.rows();
  for (Index query = 0; query < rows; ++query) {
    const Eigen::VectorXf exact = vectors * vectors.row(query).transpose();
    const auto wanted = ranked(rows, query, 10, [&](Index row) { return exact[row]; });
    const auto found = ranked(rows, query, 40, [&](Index row) { return score(query, row); });
    const auto share = [&](std::size_t candidates) {
      Nearest rescored(10);
      for (std::size_t i = 0; i < candidates; ++i) {
        rescored.add({found[i], exact[static_cast<Index>(found[i])], 0});
      }
      double hits = 0;
      for (const Neighbour& each : rescored.kept()) {
        hits += std::ranges::find(wanted, each.id) != wanted.end();
      }
      return hits / 10 / static_cast<double>(rows);
    };
    recall.plain += share(10);
    recall.rescored_2x += share(20);
    recall.rescored_4x += share(40);
  }
  return recall;
}

}  // namespace nibble::test
