#include "common/search_bench.hpp"

#include <array>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/console.hpp"
#include "common/output_folder.hpp"
#include "common/report.hpp"
#include "common/search_measure.hpp"
#include "common/search_plot.hpp"

namespace nibble::example {
namespace {

/// Mean and standard deviation of the recalls at an oversampling; the deviation is 0 for one.
std::pair<double, double> spread(const SearchBenchRow& row, std::size_t i) {
  const auto count = static_cast<double>(row.recalls.size());
  double sum = 0, squares = 0;
  for (const SearchRecall& recall : row.recalls) sum += recall[i];
  for (const SearchRecall& recall : row.recalls) squares += std::pow(recall[i] - sum / count, 2);
  return {sum / count, count > 1 ? std::sqrt(squares / (count - 1)) : 0};
}

Table make_table(const std::vector<SearchBenchRow>& rows, const SearchBenchOptions& options) {
  const bool rescored = options.kept.value() != KeptVectors::None, timed = options.texts.empty();
  Table table{{"code", "bytes", "scanned", concat("recall@", options.search.count)}};
  std::vector<std::string>& header = table.front();
  if (rescored) header.insert(header.end(), {"2x", "4x"});
  if (timed) {
    header.insert(header.end(), {"one query ms", "% of read", "of 64, ms", "open ms", "adds/s"});
  }
  for (const SearchBenchRow& row : rows) {
    std::vector<std::string> cells{row.name(), fixed(row.bytes, 0), fixed(row.scanned_bytes, 0)};
    for (std::size_t i = 0; i < (rescored ? recall_oversamplings.size() : 1); ++i) {
      const auto [mean, deviation] = spread(row, i);
      cells.push_back(deviation > 0 ? concat(fixed(mean, 3), " ± ", fixed(deviation, 3))
                                    : fixed(mean, 3));
    }
    if (timed) {
      for (const std::string& cell :
           {significant(1e3 * row.one_seconds), fixed(100 * row.share_of_read, 1),
            significant(1e3 * row.batch_seconds), significant(1e3 * row.open_seconds),
            fixed(row.adds_per_second, 0)}) {
        cells.push_back(cell);
      }
    }
    table.push_back(std::move(cells));
  }
  return table;
}

Json make_json(const std::vector<SearchBenchRow>& rows, const SearchBenchOptions& options,
               Json json) {
  json["rows"] = options.rows;
  json["dims"] = options.dims;
  json["kept"] = options.kept.name;
  json["count"] = options.search.count;
  json["query_bits"] = options.search.query_bits;
  json["codes"] = Json::array();
  for (const SearchBenchRow& row : rows) {
    Json code{{"bits", row.bits},
              {"bytes_per_row", row.bytes},
              {"scanned_bytes_per_row", row.scanned_bytes}};
    constexpr std::array<std::string_view, 3> names{"recall", "recall_2x", "recall_4x"};
    const bool rescored = options.kept.value() != KeptVectors::None;
    for (std::size_t i = 0; i < (rescored ? names.size() : 1); ++i) {
      const auto [mean, deviation] = spread(row, i);
      code[std::string(names[i])] = mean;
      if (row.recalls.size() > 1) code[concat(names[i], "_deviation")] = deviation;
    }
    if (options.texts.empty()) {
      if (row.resident_bytes) code["resident_bytes_per_row"] = *row.resident_bytes;
      if (row.mapped_bytes) code["mapped_bytes_per_row"] = *row.mapped_bytes;
      code["adds_per_second"] = row.adds_per_second;
      code["open_seconds"] = row.open_seconds;
      code["seconds_per_query"] = row.one_seconds;
      code["seconds_per_query_of_64"] = row.batch_seconds;
      code["read_bytes_per_second"] =
          row.scanned_bytes * static_cast<double>(options.rows) / row.one_seconds;
      code["share_of_read_bandwidth"] = row.share_of_read;
    }
    json["codes"].push_back(std::move(code));
  }
  return json;
}

std::string make_plot(const std::vector<SearchBenchRow>& rows, const SearchBenchOptions& options,
                      int threads) {
  std::vector<SearchPlotRow> points;
  for (const SearchBenchRow& row : rows) {
    points.push_back({row.name(), row.scanned_bytes, spread(row, 0).first, spread(row, 2).first,
                      1 / row.one_seconds, 1 / row.batch_seconds});
  }
  const std::string subtitle =
      concat(options.rows, " clustered vectors of ", options.dims, " dimensions · ",
             dispatch::best_search().isa, ", ", threads, threads == 1 ? " thread" : " threads");
  return search_plot_svg("Search by codes of several widths", subtitle,
                         concat("recall@", options.search.count), points);
}

}  // namespace

void add_search_bench_options(CLI::App& app, SearchBenchOptions& options) {
  options.common.add_to(app);
  app.add_option(
         "--bits", options.bits,
         "Bits of a dimension's code, separated by commas. 0: the signs of the vector; 1 to 8: "
         "RaBitQ, which turns vectors at random first")
      ->delimiter(',')
      ->check(CLI::Range(0, max_code_bits))
      ->capture_default_str();
  CLI::Option* kept = options.kept.add_to(app);
  app.add_option("--rows", options.rows, "Vectors")->check(at_least(100))->capture_default_str();
  app.add_option("--dims", options.dims, "Dimensions; 0: 1024, or all of the model")
      ->check(at_least(0))
      ->capture_default_str();
  app.add_option("--clusters", options.clusters, "Clusters that the vectors lie in")
      ->check(at_least(1))
      ->capture_default_str();
  CLI::Option* texts = app.add_option("--text", options.texts,
                                      "Text files: recall among their passages, with float32 "
                                      "vectors kept, instead of made vectors");
  texts->excludes(kept);
  app.add_option("--model", options.model, "Folder of static token embeddings, for --text")
      ->capture_default_str();
  app.add_option("--seeds", options.seeds, "Random rotations to take the mean over, with --text")
      ->needs(texts)
      ->check(at_least(1))
      ->capture_default_str();
  app.add_option("-k,--count", options.search.count, "Vectors to find")
      ->check(at_least(1))
      ->capture_default_str();
  app.add_option("--query-bits", options.search.query_bits,
                 "Bits of the query's code, 1 to 8; 0: 4 for codes of one bit, else 8")
      ->check(CLI::Range(0, max_code_bits))
      ->capture_default_str();
  app.add_option("--repeat", options.repeat, "Rounds of timings, whose median counts")
      ->check(at_least(1))
      ->capture_default_str();
  app.add_option(
      "--output", options.output,
      "Folder for bench.json, bench.md (the table) and, without --text, bench.svg (a plot)");
  app.footer(
      "Each code is re-ranked with 2 and 4 times as many candidates, and timed with 4 times. A\n"
      "query alone is held against the read bandwidth measured just before and after it. The\n"
      "indexes are saved to the system's folder for temporary files, opened and removed.");
}

void run_search_bench(SearchBenchOptions options) {
  Console console;
  ThreadPool pool(options.common.threads);
  check_output_folder(options.output);
  const bool made = options.texts.empty();
  if (made && options.dims == 0) options.dims = 1024;
  const std::vector<SearchBenchRow> rows = made ? bench_made(options, pool, console.progress())
                                                : bench_texts(options, pool, console.progress());
  Json json = describe_run("nibble-search", made ? "clustered vectors" : options.model, pool);
  json["search_isa"] = dispatch::best_search().isa;
  json = make_json(rows, options, std::move(json));
  const Table table = make_table(rows, options);
  if (!options.output.empty()) {
    const std::filesystem::path folder = options.output;
    make_output_folder(folder);
    write_text_file(folder / "bench.json", json_text(json));
    write_text_file(folder / "bench.md", markdown_table(table));
    if (made) write_text_file(folder / "bench.svg", make_plot(rows, options, pool.size()));
  }
  if (options.common.json) {
    std::cout << json_text(json);
    return;
  }
  std::cout << options.rows << " x " << options.dims << " dims, " << options.kept.name
            << " vectors kept\n"
            << aligned_table(table);
  for (const SearchBenchRow& row : rows) {
    if (!row.resident_bytes || !row.mapped_bytes) continue;
    std::cout << row.name() << ": " << fixed(row.bytes, 0) << " bytes a row stated, "
              << fixed(*row.resident_bytes, 1) << " measured in memory after adding, "
              << fixed(*row.mapped_bytes, 1) << " mapped and verified\n";
  }
}

}  // namespace nibble::example
