// nibble-search bench-lists: numbers of probes of an inverted file side by side.
#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <nibble/search/binary_index.hpp>

#include "common/options.hpp"

namespace nibble::example {

struct ListBenchOptions {
  Index rows = 100000, dims = 1024, clusters = 1000, lists = 1024;
  int bits = 1, repeat = 5;
  std::vector<std::string> texts;
  std::string model;
  SearchOptions search;
  CommonOptions common;
};

/// Adds the arguments of the subcommand.
void add_list_bench_options(CLI::App& app, ListBenchOptions& options);

/// Measures and reports. Throws Error.
void run_list_bench(const ListBenchOptions& options);

}  // namespace nibble::example
