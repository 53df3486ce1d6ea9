// What programs report: a line about the run, JSON and tables.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/dispatch/dispatch.hpp>
#include <nibble/io/mapped_file.hpp>
#include <nibble/model/model_folder.hpp>
#include <nibble/text/encode_first.hpp>

#include "common/numbers.hpp"
#include "common/options.hpp"

namespace nibble::example {

using Json = nlohmann::ordered_json;

/// Seconds since it was made.
class Stopwatch {
 public:
  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

/// The first `count` tokens of a text file, as the tokenizer begins a text, or all that there are.
/// Reads no more of the file than they take. Throws Error, naming the file.
[[nodiscard]] inline std::vector<TokenId> encode_file(
    const ModelFolder& model, const std::filesystem::path& file,
    Index count = std::numeric_limits<Index>::max()) {
  const auto mapped = MappedFile::open(file);
  const std::span<const std::byte> bytes = mapped->bytes();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const Tokenizer tokenizer = model.tokenizer();
  try {
    return encode_first(tokenizer, text, static_cast<std::size_t>(count));
  } catch (const Error& error) {
    fail(path_text(file), ": ", error.what());
  }
}

/// A model's name for people: that of its folder.
[[nodiscard]] inline std::string model_name(const ModelFolder& model) {
  const auto path = (model.path() / "").lexically_normal().parent_path();
  return path_text(path.has_filename() ? path.filename() : model.path());
}

/// "avx512vnni, 2 threads, native activations, float16 KV".
[[nodiscard]] inline std::string describe_setting(ExecutorRef pool,
                                                  const RunOptions* run = nullptr) {
  std::string text =
      concat(dispatch::best().isa, ", ", pool.size(), " thread", pool.size() == 1 ? "" : "s");
  if (run != nullptr) text += concat(", ", run->activations, " activations, ", run->kv, " KV");
  return text;
}

/// "novella-5m (llama): avx512vnni, 2 threads, native activations, float16 KV".
[[nodiscard]] inline std::string banner(const ModelFolder& model, ExecutorRef pool,
                                        const RunOptions* run = nullptr) {
  return concat(model_name(model), " (", model.config().model_type,
                "): ", describe_setting(pool, run));
}

/// The JSON object's first fields: what ran, and how. `model` is a path, or a name for no file.
[[nodiscard]] inline Json describe_run(std::string_view program, std::string_view model,
                                       ExecutorRef pool, const RunOptions* run = nullptr) {
  Json json{{"program", program},
            {"model", model},
            {"isa", dispatch::best().isa},
            {"threads", pool.size()}};
  if (run != nullptr) {
    json["activations"] = run->activations;
    json["kv"] = run->kv;
  }
  return json;
}
[[nodiscard]] inline Json describe_run(std::string_view program, const ModelFolder& model,
                                       ExecutorRef pool, const RunOptions* run = nullptr) {
  return describe_run(program, path_text(model.path()), pool, run);
}

/// The text of an object; what is not UTF-8 in it becomes U+FFFD, what is not finite null.
[[nodiscard]] inline std::string json_text(const Json& json) {
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// Rows of cells, the first of them the header; the first column is text, the others are numbers.
using Table = std::vector<std::vector<std::string>>;

/// Aligned columns.
[[nodiscard]] inline std::string aligned_table(const Table& table) {
  std::vector<std::size_t> widths(table.front().size(), 0);
  for (const auto& row : table) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : table) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - row[i].size(), ' ');
      if (i > 0) text += "  ";
      text += i == 0 ? row[i] + padding : padding + row[i];
    }
    text += '\n';
    if (&row == &table.front()) {
      std::size_t width = 2 * (widths.size() - 1);
      for (const std::size_t each : widths) width += each;
      text += std::string(width, '-') + '\n';
    }
  }
  return text;
}

/// A Markdown table.
[[nodiscard]] inline std::string markdown_table(const Table& table) {
  std::string text;
  for (const auto& row : table) {
    for (const std::string& cell : row) text += "| " + cell + " ";
    text += "|\n";
    if (&row != &table.front()) continue;
    for (std::size_t i = 0; i < row.size(); ++i) text += i == 0 ? "| --- " : "| ---: ";
    text += "|\n";
  }
  return text;
}

}  // namespace nibble::example
