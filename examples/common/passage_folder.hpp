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
#include <nibble/io/text_file.hpp>
#include <nibble/io/update_file.hpp>
#include <nibble/model/embed_texts.hpp>
#include <nibble/search/binary_index.hpp>
#include <nibble/search/passages.hpp>

namespace nibble::example {

/// A part of a text.
struct Passage {
  std::string source, text;
};

/// The passages of some text files.
[[nodiscard]] inline std::vector<Passage> read_passages(const std::vector<std::string>& files) {
  std::vector<Passage> passages;
  for (const std::string& file : files) {
    for (std::string& text : cut_passages(read_text_file(file))) {
      passages.push_back({file, std::move(text)});
    }
  }
  return passages;
}

/// How the vectors of a folder are made.
struct EmbedSettings {
  std::filesystem::path model;
  std::string pooling{pooling_names.front()};
  Index dims = 0;
};

/// The folder holds
/// - settings.json: the model that the vectors are of, its pooling, and the vectors' dimensions
/// - passages.jsonl: a passage a line; its id is the byte at which its line begins
/// - vectors.nibble: the BinaryIndex
/// Passages are written before the index speaks of them, and removing them changes the index alone.
/// So a crash leaves at most lines that nothing refers to, as removing does, and an id stays what
/// it is.
class PassageFolder {
 public:
  /// Throws Error where settings.json is missing or broken.
  explicit PassageFolder(std::filesystem::path folder) : folder_(std::move(folder)) {
    const auto path = folder_ / "settings.json";
    const auto json = read_json_file(path, std::uint64_t{1} << 20);
    const auto text = json_field<std::string>(json, "model", path_text(path));
    settings_.model = std::u8string(text.begin(), text.end());
    settings_.pooling =
        json_optional<std::string>(json, "pooling", path_text(path)).value_or(settings_.pooling);
    settings_.dims = json_field<Index>(json, "dims", path_text(path), 1, RaBitQ::max_dims);
  }

  /// Begins a folder, or an old one of the same name anew.
  PassageFolder(std::filesystem::path folder, EmbedSettings settings)
      : folder_(std::move(folder)), settings_(std::move(settings)) {
    settings_.model = std::filesystem::absolute(settings_.model);
    std::error_code code;
    std::filesystem::create_directories(folder_, code);
    if (code) fail(path_text(folder_), ": cannot be created: ", code.message());
    std::filesystem::remove(index_path(), code);
    const auto text = settings_.model.u8string();
    const nlohmann::json json{{"model", std::string(text.begin(), text.end())},
                              {"pooling", settings_.pooling},
                              {"dims", settings_.dims}};
    write_text_file(folder_ / "settings.json", json.dump(1) + "\n");
    write_text_file(passages_path(), "");
  }

  [[nodiscard]] const EmbedSettings& settings() const noexcept { return settings_; }
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
    for (const std::uint64_t id : ids) passages.push_back(parse(line(*file, id), id));
    return passages;
  }

  /// The ids of all lines whose passage is of this source, removed ones too.
  [[nodiscard]] std::vector<std::uint64_t> ids_of(std::string_view source) const {
    std::vector<std::uint64_t> ids;
    const auto file = MappedFile::open(passages_path());
    for (std::uint64_t id = 0; id < file->bytes().size();) {
      const std::string_view text = line(*file, id);
      if (parse(text, id).source == source) ids.push_back(id);
      id += text.size() + 1;
    }
    return ids;
  }

 private:
  [[nodiscard]] std::string where(std::uint64_t id) const {
    return concat(path_text(passages_path()), ": byte ", id);
  }

  [[nodiscard]] std::string_view line(const MappedFile& file, std::uint64_t id) const {
    const std::string_view all(reinterpret_cast<const char*>(file.bytes().data()),
                               file.bytes().size());
    const std::size_t end =
        id < all.size() ? all.find('\n', static_cast<std::size_t>(id)) : std::string_view::npos;
    if (end == std::string_view::npos) fail(where(id), ": no passage begins there");
    return all.substr(static_cast<std::size_t>(id), end - static_cast<std::size_t>(id));
  }

  [[nodiscard]] Passage parse(std::string_view text, std::uint64_t id) const {
    const auto json = parse_json(text, where(id));
    return {json_field<std::string>(json, "source", where(id)),
            json_field<std::string>(json, "text", where(id))};
  }

  [[nodiscard]] std::filesystem::path passages_path() const { return folder_ / "passages.jsonl"; }

  std::filesystem::path folder_;
  EmbedSettings settings_;
};

}  // namespace nibble::example
