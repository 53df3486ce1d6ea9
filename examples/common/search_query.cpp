#include "common/search_query.hpp"

#include <cstddef>
#include <cstdint>
#include <iostream>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/function_ref.hpp>
#include <nibble/dispatch/dispatch.hpp>
#include <nibble/search/binary_index.hpp>
#include <nibble/text/utf8.hpp>

#include "common/console.hpp"
#include "common/numbers.hpp"
#include "common/passage_folder.hpp"
#include "common/report.hpp"
#include "common/search_index.hpp"
#include "common/search_model.hpp"
#include "common/text_embedder.hpp"

namespace nibble::example {
namespace {

/// A passage that was found.
struct Found {
  Neighbour neighbour;
  Passage passage;
};

void report_found(const SearchArguments& options, const EmbedSettings& settings,
                  std::span<const Found> found, double seconds, ThreadPool& pool) {
  if (options.common.json) {
    Json json = describe_search(path_text(settings.model), pool);
    json["query"] = options.text;
    json["seconds"] = seconds;
    json["results"] = Json::array();
    for (const Found& each : found) {
      json["results"].push_back({{"id", each.neighbour.id},
                                 {"score", each.neighbour.score},
                                 {"source", each.passage.source},
                                 {"text", each.passage.text}});
    }
    std::cout << json_text(json);
    return;
  }
  for (const Found& each : found) {
    std::cout << fixed(each.neighbour.score, 3) << "  " << printable(each.passage.source, 200)
              << ", id " << each.neighbour.id << "\n    " << printable(each.passage.text, 4000)
              << "\n";
  }
}

/// Looks for the query; `read` gives the passages of some ids.
void find(const SearchArguments& options, const EmbedSettings& settings, const TextEmbedder& model,
          const BinaryIndex& index, ThreadPool& pool,
          FunctionRef<std::vector<Passage>(std::span<const std::uint64_t> ids)> read) {
  if (text::find_invalid_utf8(options.text)) fail("QUERY: is not UTF-8");
  const std::vector<Passage> query{{"", options.text}};
  const Matrix vector = embed(model, settings.dims, query, pool, {});
  if (vector.isZero(0)) fail("QUERY: holds no token that the model has a vector for");
  const Stopwatch stopwatch;
  const auto nearest = index.search(vector, options.search, pool, dispatch::best_search()).front();
  const double seconds = stopwatch.seconds();
  std::vector<std::uint64_t> ids;
  for (const Neighbour& each : nearest) ids.push_back(each.id);
  std::vector<Passage> passages = read(ids);
  std::vector<Found> found;
  for (std::size_t i = 0; i < nearest.size(); ++i) {
    found.push_back({nearest[i], std::move(passages[i])});
  }
  report_found(options, settings, found, seconds, pool);
}

/// In the shipped book, indexed in memory.
void query_shipped(const SearchArguments& options) {
  Console console;
  ThreadPool pool(options.common.threads);
  const std::vector<Passage> passages = read_texts({});
  const TextEmbedder model(options.model, options.pooling, pool);
  const EmbedSettings settings{options.model, options.pooling, model.dims()};
  const Matrix vectors = embed(model, settings.dims, passages, pool, console.progress());
  BinaryIndex index = make_index(options, vectors, pool, console.progress());
  std::vector<std::uint64_t> ids(passages.size());
  std::iota(ids.begin(), ids.end(), std::uint64_t{0});
  index.add(ids, vectors, pool, dispatch::best_search());
  find(options, settings, model, index, pool, [&](std::span<const std::uint64_t> places) {
    std::vector<Passage> found;
    for (const std::uint64_t place : places) found.push_back(passages[place]);
    return found;
  });
}

}  // namespace

void run_query(const SearchArguments& options) {
  if (options.folder.empty()) return query_shipped(options);
  ThreadPool pool(options.common.threads);
  const PassageFolder folder(options.folder);
  const BinaryIndex index = BinaryIndex::open(folder.index_path());
  const EmbedSettings& settings = folder.settings();
  const TextEmbedder model = load_model(folder, index, pool, {});
  find(options, settings, model, index, pool,
       [&](std::span<const std::uint64_t> ids) { return folder.read(ids); });
}

}  // namespace nibble::example
