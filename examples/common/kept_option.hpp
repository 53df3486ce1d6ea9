// The option --keep of nibble-search: which vectors an index keeps beside the codes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <nibble/search/index_parameters.hpp>

namespace nibble::example {

struct KeptOption {
  std::string name{kept_vectors_names[static_cast<std::size_t>(KeptVectors::Int8)]};

  [[nodiscard]] KeptVectors value() const {
    return static_cast<KeptVectors>(std::ranges::find(kept_vectors_names, name) -
                                    kept_vectors_names.begin());
  }

  CLI::Option* add_to(CLI::App& command) {
    return command.add_option("--keep", name, "Vectors kept beside the codes, to re-rank with")
        ->check(CLI::IsMember(
            std::vector<std::string>(kept_vectors_names.begin(), kept_vectors_names.end())))
        ->capture_default_str();
  }
};

}  // namespace nibble::example
