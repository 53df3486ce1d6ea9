// The snippet of docs/search.md.
#include <iostream>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include <nibble/dispatch/dispatch.hpp>
#include <nibble/nibble.hpp>

#include "support/catch.hpp"
#include "support/fixtures.hpp"

TEST_CASE("docs/search.md: the snippet runs") {
  const std::string folder = nibble::test::source_path("examples").string();
  const nibble::test::TemporaryDirectory scratch;
  const std::string file = scratch / "book.nibble";

  nibble::ThreadPool pool;
  const auto model = nibble::StaticEmbedding::load(folder + "/models/novella-embed");
  const std::vector<std::string> passages =
      nibble::split_passages(nibble::read_text_file(folder + "/texts/treasure_island.txt"));
  const std::vector<std::string_view> texts(passages.begin(), passages.end());
  const nibble::Matrix vectors = model.embed(texts, pool, {.dims = 0, .normalize = true});

  std::vector<std::uint64_t> ids(passages.size());  // yours: any numbers, each once
  std::iota(ids.begin(), ids.end(), 0);
  nibble::BinaryIndex index(nibble::fit_index(vectors, 1, nibble::KeptVectors::Int8));
  index.add(ids, vectors, pool);
  index.save(file);

  const auto opened = nibble::BinaryIndex::open(file);  // mapped, not read
  const std::vector<std::string_view> question{"an old sailor arrives at the inn"};
  const nibble::Matrix query = model.embed(question, pool, {.dims = 0, .normalize = true});
  nibble::SearchOptions options;
  options.count = 3;
  const auto found = opened.search(query, options, pool, nibble::dispatch::best_search());
  for (const nibble::Neighbour& each : found.front()) {
    std::cout << each.score << ' ' << passages[each.id] << '\n';
  }

  CHECK(opened.size() == static_cast<nibble::Index>(passages.size()));
}
