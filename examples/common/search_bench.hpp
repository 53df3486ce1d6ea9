// nibble-search bench: codes of several widths side by side: recall, size and speed.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <nibble/search/binary_index.hpp>

#include "common/options.hpp"

namespace nibble::example {

struct SearchBenchOptions {
  std::vector<int> bits{0, 1, 2, 4};
  std::string kept{kept_vectors_names[static_cast<std::size_t>(KeptVectors::Int8)]};
  Index rows = 100000, dims = 0, clusters = 1000;
  std::vector<std::string> texts;
  std::string model, output;
  int seeds = 1, repeat = 5;
  SearchOptions search;
  CommonOptions common;

  [[nodiscard]] KeptVectors kept_vectors() const {
    return static_cast<KeptVectors>(std::ranges::find(kept_vectors_names, kept) -
                                    kept_vectors_names.begin());
  }
};

/// Adds the arguments of the subcommand.
void add_search_bench_options(CLI::App& app, SearchBenchOptions& options);

/// Measures and reports. Throws Error.
void run_search_bench(SearchBenchOptions options);

}  // namespace nibble::example
