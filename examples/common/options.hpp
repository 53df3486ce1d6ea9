// The arguments that programs share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <locale>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

#include <nibble/core/error.hpp>
#include <nibble/kernels/kv_page.hpp>
#include <nibble/model/evaluate.hpp>
#include <nibble/nn/execution.hpp>

namespace nibble::example {

/// Accepts numbers from `minimum` on.
[[nodiscard]] inline CLI::Validator at_least(double minimum) {
  return CLI::Validator(
      [minimum](std::string& text) {
        double value = 0;
        if (CLI::detail::lexical_cast(text, value) && value >= minimum) return std::string();
        return concat("expected a number from ", minimum, " on, found ", text);
      },
      "");
}

/// Turns a size as people write it, "500M" or "1.5GiB", into bytes: K, M, G and T stand for powers
/// of 1,000, with or without a B after them, KiB, MiB, GiB and TiB for powers of 1,024.
[[nodiscard]] inline CLI::Validator as_bytes() {
  return CLI::Validator(
      [](std::string& text) {
        std::istringstream in(text);
        in.imbue(std::locale::classic());
        double number = 0;
        std::string unit;
        const bool parsed = static_cast<bool>(in >> number);
        std::getline(in, unit);
        constexpr std::string_view prefixes = "kmgt";
        const std::size_t power =
            unit.empty() ? 0 : prefixes.find(CLI::detail::to_lower(unit)[0]) + 1;
        const std::string rest = unit.empty() ? std::string() : unit.substr(power == 0 ? 0 : 1);
        const bool binary = rest == "iB" && power > 0;
        const double bytes =
            number * std::pow(binary ? 1024.0 : 1000.0, static_cast<double>(power));
        if (!parsed || !(rest.empty() || rest == "B" || binary) ||
            !(bytes >= 0 && bytes < 0x1p62)) {
          return concat("expected a size such as 500M, 1.5G or 2GiB, found ", text);
        }
        text = concat(static_cast<std::uint64_t>(bytes));
        return std::string();
      },
      "");
}

/// What every program takes.
struct CommonOptions {
  bool json = false;
  int threads = 0;

  void add_to(CLI::App& app) {
    app.add_flag("--json", json, "Print one JSON object on standard output and nothing else there");
    app.add_option("--threads", threads, "Threads to run on; 0: one for each core")
        ->check(at_least(0))
        ->capture_default_str();
  }
};

/// What every program that runs a model takes besides.
struct RunOptions {
  std::string activations{activation_mode_name(ActivationMode::Native)};
  std::string kv{kv_type_name(KvType::Float16)};

  void add_to(CLI::App& app) {
    const auto names = [](const auto& list) {
      return CLI::IsMember(std::vector<std::string>(list.begin(), list.end()));
    };
    app.add_option("--activations", activations,
                   "Inputs of the matrix products; native: int8 for integer weights")
        ->check(names(activation_mode_names))
        ->capture_default_str();
    app.add_option("--kv", kv, "Type in which keys and values are kept")
        ->check(names(kv_type_names))
        ->capture_default_str();
  }

  [[nodiscard]] ActivationMode activation_mode() const {
    return parse_activation_mode(activations);
  }
  [[nodiscard]] KvType kv_type() const { return parse_kv_type(kv); }
};

/// What programs take that measure quality on a text.
struct WindowOptions {
  std::optional<Index> window;
  Index windows = 0;

  void add_to(CLI::App& app) {
    app.add_option("--window", window,
                   "Tokens predicted in one sequence (default: 1024, or the context if shorter)")
        ->check(at_least(1));
    app.add_option("--windows", windows, "Use the first so many windows; 0: all")
        ->check(at_least(0))
        ->capture_default_str();
  }

  /// For models whose shortest context is `context`.
  [[nodiscard]] EvaluateOptions evaluate_options(Index context) const {
    return {window.value_or(std::min(Index{1024}, context)), windows};
  }
};

}  // namespace nibble::example
