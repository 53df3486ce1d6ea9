// A folder that nibble-search writes: passages of texts, and the index by which they are found.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/io/json.hpp>
#include <nibble/io/mapped_file.hpp>
#include <nibble/io/output_file.hpp>
#include <nibble/io/update_file.hpp>
#include <nibble/search/binary_index.hpp>

namespace nibble::example {

/// A part of a text.
struct Passage {
  std::string source, text;
};

/// The folder holds
/// - settings.json: the model that the vectors are of, and their dimensions
/// - passages.jsonl: a passage a line; its id is the byte at which its line begins
/// - vectors.nibble: the BinaryIndex
/// Passages are written before the index speaks of them, so a crash leaves at most lines that
/// nothing refers to.
class PassageFolder {
 public:
  /// Throws Error where settings.json is missing or broken.
  explicit PassageFolder(std::filesystem::path folder) : folder_(std::move(folder)) {
    const auto path = folder_ / "settings.json";
    const auto json = read_json_file(path, std::uint64_t{1} << 20);
    const auto text = json_field<std::string>(json, "model", path_text(path));
    model_ = std::u8string(text.begin(), text.end());
    dims_ = json_field<Index>(json, "dims", path_text(path), 1, RaBitQ::max_dims);
  }

  /// Begins a folder, or an old one of the same name anew.
  PassageFolder(std::filesystem::path folder, const std::filesystem::path& model, Index dims)
      : folder_(std::move(folder)), model_(std::filesystem::absolute(model)), dims_(dims) {
    std::error_code code;
    std::filesystem::create_directories(folder_, code);
    if (code) fail(path_text(folder_), ": cannot be created: ", code.message());
    std::filesystem::remove(index_path(), code);
    const auto text = model_.u8string();
    const nlohmann::json json{{"model", std::string(text.begin(), text.end())}, {"dims", dims}};
    write_text_file(folder_ / "settings.json", json.dump(1) + "\n");
    write_text_file(passages_path(), "");
  }

  [[nodiscard]] const std::filesystem::path& model() const noexcept { return model_; }
  [[nodiscard]] Index dims() const noexcept { return dims_; }
  [[nodiscard]] std::filesystem::path index_path() const { return folder_ / "vectors.nibble"; }

  /// Writes passages behind the others, and returns their ids.
  std::vector<std::uint64_t> append(const std::vector<Passage>& passages) const {
    std::error_code code;
    std::uint64_t at = std::filesystem::file_size(passages_path(), code);
    if (code) fail(path_text(passages_path()), ": cannot be read: ", code.message());
    const std::uint64_t start = at;
    std::string lines;
    std::vector<std::uint64_t> ids;
    for (const Passage& passage : passages) {
      const nlohmann::json json{{"source", passage.source}, {"text", passage.text}};
      ids.push_back(at);
      const std::string line = json.dump() + "\n";
      at += line.size();
      lines += line;
    }
    UpdateFile file(passages_path());
    file.write_at(start, std::as_bytes(std::span<const char>(lines)));
    file.force();
    return ids;
  }

  /// The passages of these ids. Throws Error where one is not there.
  [[nodiscard]] std::vector<Passage> read(const std::vector<std::uint64_t>& ids) const {
    std::vector<Passage> passages;
    if (ids.empty()) return passages;
    const auto file = MappedFile::open(passages_path());
    const std::string_view all(reinterpret_cast<const char*>(file->bytes().data()),
                               file->bytes().size());
    for (const std::uint64_t id : ids) {
      const std::string where = concat(path_text(passages_path()), ": byte ", id);
      const std::size_t end =
          id < all.size() ? all.find('\n', static_cast<std::size_t>(id)) : std::string_view::npos;
      if (end == std::string_view::npos) fail(where, ": no passage begins there");
      const auto begin = static_cast<std::size_t>(id);
      const auto json = parse_json(all.substr(begin, end - begin), where);
      passages.push_back({json_field<std::string>(json, "source", where),
                          json_field<std::string>(json, "text", where)});
    }
    return passages;
  }

 private:
  [[nodiscard]] std::filesystem::path passages_path() const { return folder_ / "passages.jsonl"; }

  std::filesystem::path folder_, model_;
  Index dims_ = 0;
};

}  // namespace nibble::example
