// nibble-search bench: codes of several widths side by side: recall, size and speed.
#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <nibble/search/binary_index.hpp>

#include "common/kept_option.hpp"
#include "common/options.hpp"

namespace nibble::example {

struct SearchBenchOptions {
  std::vector<int> bits{0, 1, 2, 4};
  KeptOption kept;
  Index rows = 100000, dims = 0, clusters = 1000;
  std::vector<std::string> texts;
  std::string model, output;
  int seeds = 1, repeat = 5;
  SearchOptions search;
  CommonOptions common;
};

/// Adds the arguments of the subcommand.
void add_search_bench_options(CLI::App& app, SearchBenchOptions& options);

/// Measures and reports. Throws Error.
void run_search_bench(SearchBenchOptions options);

}  // namespace nibble::example
