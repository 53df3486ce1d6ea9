// nibble-search: finds passages of texts by what they mean.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include <nibble/dispatch/dispatch.hpp>
#include <nibble/nibble.hpp>

#include "common/console.hpp"
#include "common/options.hpp"
#include "common/passage_folder.hpp"
#include "common/report.hpp"
#include "common/run_main.hpp"
#include "common/search_bench.hpp"

namespace {

using namespace nibble;
using namespace nibble::example;

struct Options {
  std::string folder, text, model = "examples/models/novella-embed";
  std::vector<std::string> files;
  int bits = 1;
  std::string kept{kept_vectors_names[static_cast<std::size_t>(KeptVectors::Int8)]};
  Index dims = 0;
  SearchOptions search;
  CommonOptions common;

  [[nodiscard]] KeptVectors kept_vectors() const {
    return static_cast<KeptVectors>(std::ranges::find(kept_vectors_names, kept) -
                                    kept_vectors_names.begin());
  }

  CLI::App* add_command(CLI::App& app, const char* name, const char* what) {
    CLI::App* command = app.add_subcommand(name, what);
    common.add_to(*command);
    return command;
  }
  void add_folder(CLI::App& command) {
    command.add_option("INDEX", folder, "Folder of the index")->required();
  }
  void add_code_options(CLI::App& command) {
    command
        .add_option("--bits", bits,
                    "Bits of a dimension's code, 1 to 8 (RaBitQ); 0: plain sign bits")
        ->check(CLI::Range(0, max_code_bits))
        ->capture_default_str();
    command.add_option("--keep", kept, "Vectors kept beside the codes, to re-rank with")
        ->check(CLI::IsMember(
            std::vector<std::string>(kept_vectors_names.begin(), kept_vectors_names.end())))
        ->capture_default_str();
  }
  void add_search_options(CLI::App& command) {
    command.add_option("-k,--count", search.count, "Passages to find")
        ->check(at_least(1))
        ->capture_default_str();
    command
        .add_option("--oversampling", search.oversampling,
                    "Candidates re-ranked by kept vectors, times the count; 0: none")
        ->check(at_least(0))
        ->capture_default_str();
    command
        .add_option("--query-bits", search.query_bits,
                    "Bits of the query's code, 1 to 8; 0: 4 for codes of one bit, else 8")
        ->check(CLI::Range(0, max_code_bits))
        ->capture_default_str();
  }
};

std::vector<Passage> read_passages(const std::vector<std::string>& files) {
  std::vector<Passage> passages;
  for (const std::string& file : files) {
    for (std::string& text : cut_passages(read_text_file(file))) {
      passages.push_back({file, std::move(text)});
    }
  }
  return passages;
}

Matrix embed(const StaticEmbedding& model, Index dims, std::span<const Passage> passages,
             ThreadPool& pool, const Progress& progress) {
  std::vector<std::string_view> texts;
  for (const Passage& passage : passages) texts.push_back(passage.text);
  return model.embed(texts, pool, {.dims = dims, .normalize = true}, progress);
}

Json describe_search(const std::string& model, ThreadPool& pool) {
  Json json = describe_run("nibble-search", model, pool);
  json["search_isa"] = dispatch::best_search().isa;
  return json;
}

void report_index(const Options& options, const std::string& model, const BinaryIndex& index,
                  std::size_t added, double seconds, ThreadPool& pool) {
  if (options.common.json) {
    Json json = describe_search(model, pool);
    json["index"] = options.folder;
    json["added"] = added;
    json["passages"] = index.size();
    json["dims"] = index.parameters().dims;
    json["bits"] = index.parameters().code_bits;
    json["bytes"] = index.bytes();
    json["seconds"] = seconds;
    std::cout << json_text(json);
  } else {
    std::cout << options.folder << ": " << added << " passages added, " << index.size()
              << " in all, " << megabytes(index.bytes()) << " MB\n";
  }
}

void run_index(const Options& options) {
  Console console;
  ThreadPool pool(options.common.threads);
  const Stopwatch stopwatch;
  const auto model = StaticEmbedding::load(options.model);
  const Index dims = options.dims == 0 ? model.dims() : options.dims;
  const std::vector<Passage> passages = read_passages(options.files);
  if (passages.empty()) fail(options.files.front(), ": holds no passage of 300 characters");
  const Matrix vectors = embed(model, dims, passages, pool, console.progress());
  BinaryIndex index(fit_index(vectors, options.bits, options.kept_vectors()));
  const PassageFolder folder(options.folder, options.model, dims);
  index.add(folder.append(passages), vectors, pool);
  index.save(folder.index_path());
  report_index(options, options.model, index, passages.size(), stopwatch.seconds(), pool);
}

void run_add(const Options& options) {
  Console console;
  ThreadPool pool(options.common.threads);
  const Stopwatch stopwatch;
  const PassageFolder folder(options.folder);
  BinaryIndex index = BinaryIndex::open(folder.index_path());
  const auto model = StaticEmbedding::load(folder.model());
  const std::vector<Passage> passages = read_passages(options.files);
  const Matrix vectors = embed(model, folder.dims(), passages, pool, console.progress());
  index.add(folder.append(passages), vectors, pool);
  index.commit();
  report_index(options, path_text(folder.model()), index, passages.size(), stopwatch.seconds(),
               pool);
}

void run_query(const Options& options) {
  ThreadPool pool(options.common.threads);
  const PassageFolder folder(options.folder);
  const BinaryIndex index = BinaryIndex::open(folder.index_path());
  const auto model = StaticEmbedding::load(folder.model());
  const std::vector<Passage> query{{"", options.text}};
  const Matrix vector = embed(model, folder.dims(), query, pool, {});
  const Stopwatch stopwatch;
  const auto found = index.search(vector, options.search, pool, dispatch::best_search()).front();
  const double seconds = stopwatch.seconds();
  std::vector<std::uint64_t> ids;
  for (const Neighbour& each : found) ids.push_back(each.id);
  const std::vector<Passage> passages = folder.read(ids);
  if (options.common.json) {
    Json json = describe_search(path_text(folder.model()), pool);
    json["query"] = options.text;
    json["seconds"] = seconds;
    json["results"] = Json::array();
    for (std::size_t i = 0; i < found.size(); ++i) {
      json["results"].push_back({{"id", found[i].id},
                                 {"score", found[i].score},
                                 {"source", passages[i].source},
                                 {"text", passages[i].text}});
    }
    std::cout << json_text(json);
    return;
  }
  for (std::size_t i = 0; i < found.size(); ++i) {
    std::cout << fixed(found[i].score, 3) << "  " << printable(passages[i].source, 200) << "\n    "
              << printable(passages[i].text, 4000) << "\n";
  }
}

void run_verify(const Options& options) {
  const PassageFolder folder(options.folder);
  const Stopwatch stopwatch;
  BinaryIndex::verify(folder.index_path());
  const BinaryIndex index = BinaryIndex::open(folder.index_path());
  if (options.common.json) {
    std::cout << json_text({{"program", "nibble-search"},
                            {"index", options.folder},
                            {"passages", index.size()},
                            {"bytes", index.bytes()},
                            {"seconds", stopwatch.seconds()}});
  } else {
    std::cout << options.folder << ": " << index.size() << " passages, all checksums hold\n";
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Finds passages of texts by what they mean, from bits.", "nibble-search");
  app.require_subcommand(1);
  Options options;

  CLI::App* index = options.add_command(app, "index", "Begins an index of some text files");
  options.add_folder(*index);
  index->add_option("TEXT", options.files, "Text files in UTF-8")->required();
  index->add_option("--model", options.model, "Folder of static token embeddings")
      ->capture_default_str();
  index->add_option("--dims", options.dims, "The first so many dimensions of the model; 0: all")
      ->check(at_least(0))
      ->capture_default_str();
  options.add_code_options(*index);

  CLI::App* add = options.add_command(app, "add", "Adds text files to an index");
  options.add_folder(*add);
  add->add_option("TEXT", options.files, "Text files in UTF-8")->required();

  CLI::App* query = options.add_command(app, "query", "Finds passages like a text");
  options.add_folder(*query);
  query->add_option("QUERY", options.text, "What to look for")->required();
  options.add_search_options(*query);

  CLI::App* verify = options.add_command(app, "verify", "Compares an index with its checksums");
  options.add_folder(*verify);

  CLI::App* bench = app.add_subcommand("bench", "Compares codes: recall, size, speed");
  SearchBenchOptions bench_options;
  bench_options.model = options.model;
  add_search_bench_options(*bench, bench_options);

  app.footer(
      "Each command has its own --help; all take --json and --threads.\n"
      "Examples:\n"
      "  nibble-search index treasure examples/texts/treasure_island.txt\n"
      "  nibble-search query treasure \"an old sailor with a scar arrives at the inn\"");
  return run_main(app, argc, argv, [&] {
    if (index->parsed()) run_index(options);
    if (add->parsed()) run_add(options);
    if (query->parsed()) run_query(options);
    if (verify->parsed()) run_verify(options);
    if (bench->parsed()) run_search_bench(bench_options);
  });
}
