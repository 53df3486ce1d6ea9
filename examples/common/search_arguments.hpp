// The arguments of nibble-search's commands, but for those that measure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <nibble/model/embed_texts.hpp>
#include <nibble/search/binary_index.hpp>

#include "common/kept_option.hpp"
#include "common/options.hpp"

namespace nibble::example {

/// The text that comes with nibble, as it is called from the top of a checkout.
inline const std::string shipped_text = "examples/texts/treasure_island.txt";

struct SearchArguments {
  std::string folder, file, text, texts, source, model = "examples/models/novella-embed";
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

}  // namespace nibble::example
