#include "common/list_bench.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <iostream>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "common/clustered_vectors.hpp"
#include "common/console.hpp"
#include "common/median.hpp"
#include "common/report.hpp"
#include "common/search_recall.hpp"
#include "common/seconds_of.hpp"

namespace nibble::example {
namespace {

/// Vectors to be found, and queries; of texts, these are the same.
struct Corpus {
  Matrix vectors, queries;
  bool among = false;  // a query is not its own neighbour
};

/// What is measured of a number of probes; 0: of an index without lists.
struct ProbeRow {
  std::size_t probes = 0;
  double share_read = 1;
  SearchRecall recall{};
  double one_seconds = 0;
};

void check_lists(const ListBenchOptions& options, Index rows) {
  if (options.lists > rows)
    fail("--lists ", options.lists, ": expected at most the ", rows, " rows");
}

Corpus make_corpus(const ListBenchOptions& options, ThreadPool& pool, const Progress& progress) {
  if (options.texts.empty()) {
    constexpr Index queries = 256;
    check_lists(options, options.rows);
    report(progress, "made vectors", 0, 1);
    Corpus corpus{clustered_vectors(options.rows, options.dims, options.clusters, 1, pool),
                  clustered_vectors(queries, options.dims, options.clusters, 1, pool, options.rows),
                  false};
    report(progress, "made vectors", 1, 1);
    return corpus;
  }
  const Matrix vectors = embed_passages(options.texts, options.model, 0, pool, progress);
  check_lists(options, vectors.rows());
  return {vectors, vectors, true};
}

std::vector<std::vector<Neighbour>> search_corpus(const Corpus& corpus, const BinaryIndex& index,
                                                  const SearchOptions& options, ThreadPool& pool) {
  if (corpus.among) return search_others(corpus.queries, index, options, pool);
  return index.search(corpus.queries, options, pool, dispatch::best_search());
}

/// shares[p]: of all rows, those in the p + 1 nearest lists of a query, as a mean.
std::vector<double> shares_read(const Corpus& corpus, const BinaryIndex& index, ThreadPool& pool) {
  const RowEncoder encoder(index.parameters());
  const Centroids& centroids = *encoder.centroids();
  const SearchKernels& kernels = dispatch::best_search();
  const auto turned = [&](const Matrix& vectors, Index row, float* to) {
    std::copy_n(vectors.row(row).data(), vectors.cols(), to);
    encoder.turn({to, static_cast<std::size_t>(vectors.cols())});
  };
  const auto load = [&](Index row, float* to) { turned(corpus.vectors, row, to); };
  std::vector<double> sizes(static_cast<std::size_t>(centroids.count()));
  for (const std::uint32_t list :
       centroids.assign(corpus.vectors.rows(), load, pool, kernels).centroids) {
    ++sizes[list];
  }
  std::vector<double> shares(sizes.size());
  std::vector<float> query(static_cast<std::size_t>(centroids.dims())), scores(sizes.size());
  for (Index q = 0; q < corpus.queries.rows(); ++q) {
    turned(corpus.queries, q, query.data());
    centroids.score(query.data(), 1, 0, centroids.count(), scores.data(), centroids.count(),
                    kernels);
    std::vector<std::size_t> order(sizes.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::sort(order, std::ranges::greater(),
                      [&](std::size_t list) { return scores[list]; });
    double rows = 0;
    for (std::size_t p = 0; p < order.size(); ++p) {
      rows += sizes[order[p]];
      shares[p] += rows / static_cast<double>(corpus.vectors.rows() * corpus.queries.rows());
    }
  }
  return shares;
}

void measure_probes(ProbeRow& row, const Corpus& corpus, const BinaryIndex& index,
                    const ExactNeighbours& exact, const ListBenchOptions& options,
                    ThreadPool& pool) {
  SearchOptions search_options = options.search;
  search_options.probes = std::max<std::size_t>(row.probes, 1);
  for (std::size_t i = 0; i < row.recall.size(); ++i) {
    search_options.oversampling = recall_oversamplings[i];
    row.recall[i] = exact.recall(search_corpus(corpus, index, search_options, pool));
  }
  std::vector<double> seconds;
  constexpr Index queries = 32;  // each alone
  for (int round = 0; round < options.repeat; ++round) {
    const double all = seconds_of([&] {
      for (Index q = 0; q < queries; ++q) {
        static_cast<void>(index.search(corpus.queries.middleRows(q % corpus.queries.rows(), 1),
                                       search_options, pool, dispatch::best_search()));
      }
    });
    seconds.push_back(all / queries);
  }
  row.one_seconds = median(seconds);
}

void print_probes(const std::vector<ProbeRow>& rows, const ListBenchOptions& options,
                  const Corpus& corpus, double fit_seconds, double add_seconds, ThreadPool& pool) {
  if (options.common.json) {
    Json json =
        describe_run("nibble-search", corpus.among ? options.model : "clustered vectors", pool);
    json["search_isa"] = dispatch::best_search().isa;
    json["rows"] = corpus.vectors.rows();
    json["dims"] = corpus.vectors.cols();
    json["bits"] = options.bits;
    json["lists"] = options.lists;
    json["fit_seconds"] = fit_seconds;
    json["add_seconds"] = add_seconds;
    json["probes"] = Json::array();
    for (const ProbeRow& row : rows) {
      json["probes"].push_back({{"probes", row.probes},
                                {"share_of_rows_read", row.share_read},
                                {"recall", row.recall[0]},
                                {"recall_2x", row.recall[1]},
                                {"recall_4x", row.recall[2]},
                                {"seconds_per_query", row.one_seconds}});
    }
    std::cout << json_text(json);
    return;
  }
  Table table{
      {"probes", "% of rows", concat("recall@", options.search.count), "2x", "4x", "one query ms"}};
  for (const ProbeRow& row : rows) {
    table.push_back({row.probes == 0 ? "no lists" : concat(row.probes),
                     fixed(100 * row.share_read, 2), fixed(row.recall[0], 3),
                     fixed(row.recall[1], 3), fixed(row.recall[2], 3),
                     significant(1e3 * row.one_seconds)});
  }
  std::cout << corpus.vectors.rows() << " x " << corpus.vectors.cols() << " dims, " << options.bits
            << " bits, " << options.lists << " lists found in " << significant(fit_seconds)
            << " s, filled in " << significant(add_seconds) << " s\n"
            << aligned_table(table);
}

}  // namespace

void add_list_bench_options(CLI::App& app, ListBenchOptions& options) {
  options.common.add_to(app);
  app.add_option("--lists", options.lists, "Lists")->check(at_least(1))->capture_default_str();
  app.add_option(
         "--bits", options.bits,
         "Bits of a dimension's code. 0: the signs of the vector; 1 to 8: RaBitQ, which turns "
         "vectors at random first")
      ->check(CLI::Range(0, max_code_bits))
      ->capture_default_str();
  app.add_option("--rows", options.rows, "Vectors")->check(at_least(100))->capture_default_str();
  app.add_option("--dims", options.dims, "Dimensions")->check(at_least(1))->capture_default_str();
  app.add_option("--clusters", options.clusters, "Clusters that the vectors lie in")
      ->check(at_least(1))
      ->capture_default_str();
  app.add_option("--text", options.texts,
                 "Text files: recall among their passages, instead of made vectors");
  app.add_option("--model", options.model, "Folder of static token embeddings, for --text")
      ->capture_default_str();
  app.add_option("-k,--count", options.search.count, "Vectors to find")
      ->check(at_least(1))
      ->capture_default_str();
  app.add_option("--repeat", options.repeat, "Rounds of timings, whose median counts")
      ->check(at_least(1))
      ->capture_default_str();
  app.footer(
      "Beside numbers of probes up to all lists, an index without lists is measured. Vectors are\n"
      "kept in float32, and re-ranked with 2 and 4 times as many candidates; timed with 4 times.");
}

void run_list_bench(const ListBenchOptions& options) {
  Console console;
  ThreadPool pool(options.common.threads);
  const Progress progress = console.progress();
  const Corpus corpus = make_corpus(options, pool, progress);
  ExactNeighbours exact(corpus.queries, options.search.count);
  exact.add(corpus.vectors, 0, corpus.among, pool);
  const auto ids = row_numbers(0, corpus.vectors.rows());
  const IndexParameters plain = fit_index(corpus.vectors, options.bits, KeptVectors::Float32);
  std::vector<ProbeRow> rows(1);
  {
    BinaryIndex index(plain);
    index.add(ids, corpus.vectors, pool, dispatch::best_search());
    measure_probes(rows.front(), corpus, index, exact, options, pool);
  }
  const Stopwatch fitting;
  BinaryIndex index(
      with_lists(plain, corpus.vectors, options.lists, pool, progress, dispatch::best_search()));
  const double fit_seconds = fitting.seconds();
  const Stopwatch adding;
  index.add(ids, corpus.vectors, pool, dispatch::best_search());
  const double add_seconds = adding.seconds();
  const std::vector<double> shares = shares_read(corpus, index, pool);
  const auto lists = static_cast<std::size_t>(options.lists);
  for (std::size_t probes = 1;; probes = std::min(2 * probes, lists)) {
    report(progress, "probes", static_cast<Index>(probes), options.lists + 1);
    rows.push_back({probes, shares[probes - 1], {}, 0});
    measure_probes(rows.back(), corpus, index, exact, options, pool);
    if (probes == lists) break;
  }
  report(progress, "probes", 1, 1);
  print_probes(rows, options, corpus, fit_seconds, add_seconds, pool);
}

}  // namespace nibble::example
