// nibble-search: finds passages of texts by what they mean.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <numeric>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include <nibble/core/function_ref.hpp>
#include <nibble/core/thread_pool.hpp>
#include <nibble/dispatch/dispatch.hpp>
#include <nibble/search/binary_index.hpp>
#include <nibble/search/packed_bits_file.hpp>
#include <nibble/text/utf8.hpp>

#include "common/console.hpp"
#include "common/kept_option.hpp"
#include "common/list_bench.hpp"
#include "common/options.hpp"
#include "common/passage_folder.hpp"
#include "common/report.hpp"
#include "common/run_main.hpp"
#include "common/search_bench.hpp"
#include "common/text_embedder.hpp"

namespace {

using namespace nibble;
using namespace nibble::example;

const std::vector<std::string> shipped_texts{"examples/texts/treasure_island.txt"};

struct Options {
  std::string folder, file, text, source, model = "examples/models/novella-embed";
  std::string pooling{pooling_names.front()};
  std::vector<std::string> files;
  std::vector<std::uint64_t> ids;
  int bits = 1;
  KeptOption kept;
  Index dims = 0, lists = 0;
  SearchOptions search;
  CommonOptions common;

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
        .add_option("--lists", lists,
                    "Lists of an inverted file, for millions of vectors; 0: none, every search "
                    "reads all codes")
        ->check(at_least(0))
        ->capture_default_str();
    command
        .add_option("--bits", bits,
                    "Bits of a dimension's code. 0: the signs of the vector; 1 to 8: RaBitQ, which "
                    "turns vectors at random first and so finds more with as many bits")
        ->check(CLI::Range(0, max_code_bits))
        ->capture_default_str();
    kept.add_to(command);
  }
  void add_model_options(CLI::App& command) {
    command
        .add_option("--model", model,
                    "Folder of static token embeddings, or of a decoder, whose hidden states are "
                    "taken")
        ->capture_default_str();
    command
        .add_option("--pooling", pooling, "Hidden states of a decoder that make a text's vector")
        ->check(CLI::IsMember(std::vector<std::string>(pooling_names.begin(), pooling_names.end())))
        ->capture_default_str();
    command.add_option("--dims", dims, "The first so many dimensions of the model; 0: all")
        ->check(at_least(0))
        ->capture_default_str();
  }
  void add_search_options(CLI::App& command) {
    command
        .add_option(
            "--probes", search.probes,
            "Lists that are looked into for a query, of an index with --lists: the more, the "
            "slower, and the more is found")
        ->check(at_least(1))
        ->capture_default_str();
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

/// The model that a folder's vectors are of. Throws Error, naming the settings.
TextEmbedder load_model(const PassageFolder& folder, const BinaryIndex& index, ThreadPool& pool,
                        const Progress& progress) {
  const EmbedSettings& settings = folder.settings();
  try {
    TextEmbedder model(settings.model, settings.pooling, pool, progress);
    if (settings.dims > model.dims()) {
      fail("dims: expected 1 to ", model.dims(), ", found ", settings.dims);
    }
    if (settings.dims != index.parameters().dims) {
      fail("dims: ", settings.dims, ", the index has ", index.parameters().dims);
    }
    return model;
  } catch (const Cancelled&) {
    throw;
  } catch (const Error& error) {
    fail(path_text(folder.settings_path()), ": ", error.what());
  }
}

/// The texts that come with nibble, where none are given.
std::vector<Passage> read_texts(const std::vector<std::string>& files) {
  if (!files.empty()) return read_passages(files);
  std::error_code code;
  if (!std::filesystem::exists(shipped_texts.front(), code)) {
    fail(shipped_texts.front(), ": no such file from here; name a TEXT");
  }
  return read_passages(shipped_texts);
}

Matrix embed(const TextEmbedder& model, Index dims, std::span<const Passage> passages,
             ThreadPool& pool, const Progress& progress) {
  std::vector<std::string_view> texts;
  for (const Passage& passage : passages) texts.push_back(passage.text);
  return model.embed(texts, dims, pool, progress);
}

/// An empty index for such vectors.
BinaryIndex make_index(const Options& options, const Matrix& vectors, ThreadPool& pool,
                       const Progress& progress) {
  IndexParameters parameters = fit_index(vectors, options.bits, options.kept.value());
  if (options.lists > 0) {
    parameters = with_lists(std::move(parameters), vectors, options.lists, pool, progress,
                            dispatch::best_search());
  }
  return BinaryIndex(std::move(parameters));
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
  NewPassageFolder made(options.folder);
  const std::vector<Passage> passages = read_texts(options.files);
  const TextEmbedder model(options.model, options.pooling, pool, console.loading());
  const Index dims = options.dims == 0 ? model.dims() : options.dims;
  const Matrix vectors = embed(model, dims, passages, pool, console.progress());
  BinaryIndex index = make_index(options, vectors, pool, console.progress());
  const PassageFolder folder(made.path(), {options.model, options.pooling, dims});
  index.add(folder.append(passages), vectors, pool, dispatch::best_search(), console.progress());
  index.save(folder.index_path(), console.progress());
  made.commit();
  report_index(options, options.model, index, passages.size(), stopwatch.seconds(), pool);
}

void run_add(const Options& options) {
  Console console;
  ThreadPool pool(options.common.threads);
  const Stopwatch stopwatch;
  const PassageFolder folder(options.folder, Access::Write);
  BinaryIndex index = BinaryIndex::open(folder.index_path());
  const EmbedSettings& settings = folder.settings();
  const std::vector<Passage> passages = read_passages(options.files);
  const TextEmbedder model = load_model(folder, index, pool, console.loading());
  const Matrix vectors = embed(model, settings.dims, passages, pool, console.progress());
  index.add(folder.append(passages), vectors, pool, dispatch::best_search(), console.progress());
  index.commit();
  report_index(options, path_text(settings.model), index, passages.size(), stopwatch.seconds(),
               pool);
}

void run_remove(const Options& options) {
  const PassageFolder folder(options.folder, Access::Write);
  BinaryIndex index = BinaryIndex::open(folder.index_path());
  Index removed = 0;
  for (const std::uint64_t id : std::set(options.ids.begin(), options.ids.end())) {
    if (index.remove({&id, 1}) == 0) fail("ID ", id, ": ", options.folder, " has no such passage");
    ++removed;
  }
  if (!options.source.empty()) {
    const Index of_source = index.remove(folder.ids_of(options.source, index.ids()));
    if (of_source == 0) fail("--source ", options.source, ": ", options.folder, " has none of it");
    removed += of_source;
  }
  if (removed == 0) fail("remove: expected an ID or --source, found neither");
  index.commit();
  if (options.common.json) {
    std::cout << json_text({{"program", "nibble-search"},
                            {"index", options.folder},
                            {"removed", removed},
                            {"passages", index.size()}});
  } else {
    std::cout << options.folder << ": " << removed << " passages removed, " << index.size()
              << " left\n";
  }
}

void run_compact(const Options& options) {
  Console console;
  const PassageFolder folder(options.folder, Access::Write);
  const BinaryIndex index = BinaryIndex::open(folder.index_path());
  const auto file_bytes = [&] { return std::filesystem::file_size(folder.index_path()); };
  const std::uintmax_t before = file_bytes();
  index.save(folder.index_path(), console.progress());
  if (options.common.json) {
    std::cout << json_text({{"program", "nibble-search"},
                            {"index", options.folder},
                            {"passages", index.size()},
                            {"bytes_before", before},
                            {"bytes", file_bytes()}});
  } else {
    std::cout << options.folder << ": " << megabytes(before) << " MB before, "
              << megabytes(file_bytes()) << " MB now\n";
  }
}

/// Writes the bits of an index and, beside them, which passage each row is.
void run_export(const Options& options) {
  const PassageFolder folder(options.folder);
  const BinaryIndex index = BinaryIndex::open(folder.index_path());
  const std::filesystem::path file = options.file;
  const ByteMatrix bits = index.sign_bits();
  if (file.extension() == ".npy") {
    write_npy_bits(file, bits);
  } else if (file.extension() == ".faiss") {
    write_faiss_binary_flat(file, bits);
  } else {
    fail(options.file, ": expected a name that ends with .npy or .faiss");
  }
  const std::string ids_file = options.file + ".ids";
  std::string lines;
  for (const std::uint64_t id : index.ids()) lines += std::to_string(id) + "\n";
  write_text_file(ids_file, lines);
  if (options.common.json) {
    std::cout << json_text({{"program", "nibble-search"},
                            {"index", options.folder},
                            {"file", options.file},
                            {"ids", ids_file},
                            {"passages", index.size()},
                            {"dims", index.parameters().dims}});
  } else {
    std::cout << options.file << ": the bits of " << index.size() << " passages, whose ids are in "
              << ids_file << "\n";
  }
}

/// A passage that was found.
struct Found {
  Neighbour neighbour;
  Passage passage;
};

void report_found(const Options& options, const EmbedSettings& settings,
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
void find(const Options& options, const EmbedSettings& settings, const TextEmbedder& model,
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
void query_shipped(const Options& options) {
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

void run_query(const Options& options) {
  if (options.folder.empty()) return query_shipped(options);
  ThreadPool pool(options.common.threads);
  const PassageFolder folder(options.folder);
  const BinaryIndex index = BinaryIndex::open(folder.index_path());
  const EmbedSettings& settings = folder.settings();
  const TextEmbedder model = load_model(folder, index, pool, {});
  find(options, settings, model, index, pool,
       [&](std::span<const std::uint64_t> ids) { return folder.read(ids); });
}

void run_verify(const Options& options) {
  Console console;
  const PassageFolder folder(options.folder);
  const Stopwatch stopwatch;
  const BinaryIndex index = BinaryIndex::verify(folder.index_path(), console.progress());
  folder.verify(index.ids(), console.progress());
  if (options.common.json) {
    std::cout << json_text({{"program", "nibble-search"},
                            {"index", options.folder},
                            {"passages", index.size()},
                            {"bytes", index.bytes()},
                            {"seconds", stopwatch.seconds()}});
  } else {
    std::cout << options.folder << ": " << index.size()
              << " passages are there, all checksums hold\n";
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Finds passages of texts by what they mean, from bits.", "nibble-search");
  app.require_subcommand(1);
  Options options;

  CLI::App* index = options.add_command(app, "index", "Begins an index of some text files");
  options.add_folder(*index);
  index->add_option("TEXT", options.files, "Text files in UTF-8; none: " + shipped_texts.front());
  options.add_model_options(*index);
  options.add_code_options(*index);

  CLI::App* add = options.add_command(app, "add", "Adds text files to an index");
  options.add_folder(*add);
  add->add_option("TEXT", options.files, "Text files in UTF-8")->required();

  CLI::App* remove = options.add_command(app, "remove", "Removes passages from an index");
  options.add_folder(*remove);
  remove->add_option("ID", options.ids, "Ids of passages, as query tells them");
  remove->add_option("--source", options.source, "All passages of this text file, as named to add");

  CLI::App* compact =
      options.add_command(app, "compact", "Writes an index anew, without what was removed");
  options.add_folder(*compact);

  CLI::App* export_bits = options.add_command(
      app, "export", "Writes the sign bits of an index begun with --bits 0 for numpy or FAISS");
  options.add_folder(*export_bits);
  export_bits
      ->add_option("FILE", options.file,
                   "FILE.npy or FILE.faiss (an IndexBinaryFlat); FILE.npy.ids or FILE.faiss.ids "
                   "will hold the ids of its rows, one a line")
      ->required();

  CLI::App* query = options.add_command(app, "query", "Finds passages like a text");
  query->add_option(
      "INDEX", options.folder,
      "Folder of the index; left out: " + shipped_texts.front() + ", indexed in memory");
  query->add_option("QUERY", options.text, "What to look for");
  options.add_search_options(*query);

  CLI::App* verify =
      options.add_command(app, "verify", "Compares an index with its checksums and its texts");
  options.add_folder(*verify);

  CLI::App* bench = app.add_subcommand("bench", "Compares codes: recall, size, speed");
  SearchBenchOptions bench_options;
  bench_options.model = options.model;
  add_search_bench_options(*bench, bench_options);

  CLI::App* bench_lists =
      app.add_subcommand("bench-lists", "Compares numbers of probes: recall, rows read, speed");
  ListBenchOptions list_options;
  list_options.model = options.model;
  add_list_bench_options(*bench_lists, list_options);

  app.footer(
      "Each command has its own --help; all take --json and --threads.\n"
      "Examples:\n"
      "  nibble-search query \"an old sailor with a scar arrives at the inn\"\n"
      "  nibble-search index treasure examples/texts/treasure_island.txt\n"
      "  nibble-search query treasure \"an old sailor with a scar arrives at the inn\"");
  return run_main(app, argc, argv, [&] {
    if (index->parsed()) run_index(options);
    if (add->parsed()) run_add(options);
    if (remove->parsed()) run_remove(options);
    if (compact->parsed()) run_compact(options);
    if (export_bits->parsed()) run_export(options);
    if (query->parsed()) {
      if (query->count("INDEX") == 0) fail("QUERY is required");
      if (query->count("QUERY") == 0) {  // QUERY alone
        std::error_code code;
        if (std::filesystem::exists(std::filesystem::path(options.folder) / "settings.json",
                                    code)) {
          fail("QUERY is required: ", options.folder, " is an INDEX");
        }
        std::swap(options.text, options.folder);
      }
      run_query(options);
    }
    if (verify->parsed()) run_verify(options);
    if (bench->parsed()) run_search_bench(bench_options);
    if (bench_lists->parsed()) run_list_bench(list_options);
  });
}
