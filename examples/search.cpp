// nibble-search: finds passages of texts by what they mean.
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include <CLI/CLI.hpp>

#include <nibble/core/error.hpp>

#include "common/list_bench.hpp"
#include "common/run_main.hpp"
#include "common/search_arguments.hpp"
#include "common/search_bench.hpp"
#include "common/search_bits.hpp"
#include "common/search_index.hpp"
#include "common/search_query.hpp"

using namespace nibble;
using namespace nibble::example;

int main(int argc, char** argv) {
  CLI::App app("Finds passages of texts by what they mean, from bits.", "nibble-search");
  app.require_subcommand(1);
  SearchArguments options;

  CLI::App* index = options.add_command(app, "index", "Begins an index of some text files");
  options.add_folder(*index);
  index->add_option("TEXT", options.files, "Text files in UTF-8; none: " + shipped_text);
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

  CLI::App* import_bits =
      options.add_command(app, "import", "Begins an index of sign bits that numpy or FAISS wrote");
  options.add_folder(*import_bits);
  import_bits
      ->add_option("FILE", options.file,
                   "FILE.npy, uint8 or int8 of shape (rows, dims / 8), or FILE.faiss (an "
                   "IndexBinaryFlat)")
      ->required();
  import_bits->add_option(
      "--texts", options.texts,
      "JSON lines, one for each row in their order: the field \"text\" is the row's passage, "
      "\"source\", where there is one, what it is from; left out: \"row 0\", \"row 1\" ...");
  options.add_model_options(*import_bits);

  CLI::App* query = options.add_command(app, "query", "Finds passages like a text");
  query->add_option("INDEX", options.folder,
                    "Folder of the index; left out: " + shipped_text + ", indexed in memory");
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
    if (import_bits->parsed()) run_import(options);
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
