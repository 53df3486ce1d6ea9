// A folder that nibble-search writes: passages of texts, and the index by which they are found.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/progress.hpp>
#include <nibble/io/atomic_directory.hpp>
#include <nibble/io/json.hpp>
#include <nibble/io/mapped_file.hpp>
#include <nibble/io/output_file.hpp>
#include <nibble/io/text_file.hpp>
#include <nibble/io/update_file.hpp>
#include <nibble/model/embed_texts.hpp>
#include <nibble/search/binary_index.hpp>
#include <nibble/search/passages.hpp>
#include <nibble/text/utf8.hpp>

namespace nibble::example {

/// A part of a text.
struct Passage {
  std::string source, text;
};

/// A text file's passages, as one of the functions of search/passages.hpp cuts it.
using CutText = std::vector<std::string> (*)(std::string_view text, const PassageOptions& options);

/// Throws Error where a name cannot be the source of passages.
inline void check_source(const std::string& name) {
  if (text::find_invalid_utf8(name)) fail(printable(name, 4096), ": the name is not UTF-8");
}

/// The passages of some text files. Throws Error, naming the file, where it or its name is not
/// UTF-8, or it holds no passage.
[[nodiscard]] inline std::vector<Passage> read_passages(const std::vector<std::string>& files,
                                                        CutText cut = split_passages) {
  std::vector<Passage> passages;
  for (const std::string& file : files) {
    check_source(file);
    const std::string content = read_text_file(file);
    if (const auto at = text::find_invalid_utf8(content)) {
      fail(file, ": is not UTF-8: invalid from byte ", *at, " on");
    }
    const std::size_t before = passages.size();
    for (std::string& text : cut(content, {})) passages.push_back({file, std::move(text)});
    if (passages.size() == before) fail(file, ": holds no passage");
  }
  return passages;
}

/// The passages of a file of JSON lines: of each, the field "text", and "source" or else the file's
/// name. Throws Error, naming the file and the line, where one is no such object.
[[nodiscard]] inline std::vector<Passage> read_passage_lines(const std::string& file) {
  check_source(file);
  const auto mapped = MappedFile::open(file);
  const auto bytes = mapped->bytes();
  std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<Passage> passages;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const std::string where = concat(file, ": JSON line ", passages.size() + 1);
    const auto json = parse_json(line, where);
    passages.push_back({json_optional<std::string>(json, "source", where).value_or(file),
                        json_field<std::string>(json, "text", where)});
  }
  return passages;
}

/// How the vectors of a folder are made.
struct EmbedSettings {
  std::filesystem::path model;
  std::string pooling{pooling_names.front()};
  Index dims = 0;
};

/// Whether a folder is only read, or written too.
enum class Access : bool { Read, Write };

/// The folder holds
/// - settings.json: the model that the vectors are of, its pooling, and the vectors' dimensions
/// - passages.jsonl: a passage a line; its id is the byte at which its line begins
/// - vectors.nibble: the BinaryIndex
/// Who has opened it for writing holds the lock of settings.json from before anything is read until
/// the object is gone, so there is one writer at a time. Passages are forced to the disk before the
/// index speaks of them, and removing them changes the index alone. So a crash leaves at most lines
/// that nothing refers to, the last of them perhaps not whole, which the next `append` cuts off;
/// and an id stays what it is. Only lines that the index refers to are ever read.
class PassageFolder {
 public:
  /// Throws Error where settings.json is missing or broken, or, for writing, another one writes.
  explicit PassageFolder(std::filesystem::path folder, Access access = Access::Read)
      : folder_(std::move(folder)) {
    if (access == Access::Write) {
      lock_.emplace(settings_path());
      remove_partial_siblings(index_path());
    }
    const std::string source = path_text(settings_path());
    const auto json = read_json_file(settings_path(), std::uint64_t{1} << 20);
    const auto text = json_field<std::string>(json, "model", source);
    settings_.model = std::u8string(text.begin(), text.end());
    settings_.pooling =
        json_optional<std::string>(json, "pooling", source).value_or(settings_.pooling);
    settings_.dims = json_field<Index>(json, "dims", source, 1, RaBitQ::max_dims);
  }

  /// Begins one in an empty folder that is there. Throws Error.
  PassageFolder(std::filesystem::path folder, EmbedSettings settings)
      : folder_(std::move(folder)), settings_(std::move(settings)) {
    settings_.model = std::filesystem::absolute(settings_.model);
    const auto model = settings_.model.u8string();
    const std::string text(model.begin(), model.end());
    if (nibble::text::find_invalid_utf8(text)) {
      fail(path_text(settings_.model), ": the name is not UTF-8");
    }
    const nlohmann::json json{
        {"model", text}, {"pooling", settings_.pooling}, {"dims", settings_.dims}};
    write_text_file(settings_path(), json.dump(1) + "\n", Sync::yes);
    write_text_file(passages_path(), "", Sync::yes);
  }

  [[nodiscard]] const EmbedSettings& settings() const noexcept { return settings_; }
  [[nodiscard]] std::filesystem::path index_path() const { return folder_ / "vectors.nibble"; }
  [[nodiscard]] std::filesystem::path settings_path() const { return folder_ / "settings.json"; }

  /// Writes passages behind the others, and returns their ids. For the one writer.
  [[nodiscard]] std::vector<std::uint64_t> append(std::span<const Passage> passages) const {
    UpdateFile file(passages_path());
    const std::uint64_t start = cut_off_torn_line(file);
    std::string lines;
    std::vector<std::uint64_t> ids;
    for (const Passage& passage : passages) {
      ids.push_back(start + lines.size());
      const nlohmann::json json{{"source", passage.source}, {"text", passage.text}};
      lines += json.dump() + "\n";
    }
    file.write_at(start, std::as_bytes(std::span<const char>(lines)));
    file.force();
    return ids;
  }

  /// The passages of these ids. Throws Error where one is not there.
  [[nodiscard]] std::vector<Passage> read(std::span<const std::uint64_t> ids) const {
    std::vector<Passage> passages;
    for_each(ids, {},
             [&](std::uint64_t, Passage&& passage) { passages.push_back(std::move(passage)); });
    return passages;
  }

  /// Those of the ids whose passages are of this source. Throws Error as `read`.
  [[nodiscard]] std::vector<std::uint64_t> ids_of(std::string_view source,
                                                  std::span<const std::uint64_t> ids) const {
    std::vector<std::uint64_t> found;
    for_each(ids, {}, [&](std::uint64_t id, Passage&& passage) {
      if (passage.source == source) found.push_back(id);
    });
    return found;
  }

  /// Throws Error where the passage of one of these ids is not there; Cancelled.
  void verify(std::span<const std::uint64_t> ids, const Progress& progress) const {
    for_each(ids, progress, [](std::uint64_t, Passage&&) {});
  }

 private:
  /// Visits the passages of some ids.
  void for_each(std::span<const std::uint64_t> ids, const Progress& progress,
                FunctionRef<void(std::uint64_t id, Passage&& passage)> visit) const {
    if (ids.empty()) return;
    const auto file = MappedFile::open(passages_path());
    const auto count = static_cast<Index>(ids.size());
    for (Index i = 0; i < count; ++i) {
      if (i % 1024 == 0) report(progress, "passages", i, count);
      const std::uint64_t id = ids[static_cast<std::size_t>(i)];
      visit(id, parse(line(*file, id), id));
    }
    report(progress, "passages", count, count);
  }

  /// Where the last whole line ends; the file then ends there too.
  [[nodiscard]] static std::uint64_t cut_off_torn_line(UpdateFile& file) {
    const std::uint64_t size = file.size();
    std::uint64_t end = size;
    std::vector<std::byte> bytes;
    for (bool found = false; end > 0 && !found;) {
      constexpr std::uint64_t most = 65536;
      bytes.resize(static_cast<std::size_t>(std::min(end, most)));
      file.read_at(end - bytes.size(), bytes);
      while (!bytes.empty() && bytes.back() != std::byte{'\n'}) bytes.pop_back(), --end;
      found = !bytes.empty();
    }
    if (end < size) file.resize(end);
    return end;
  }

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
  std::optional<UpdateFile> lock_;
};

/// Makes a folder anew: it is written beside, and replaces an older one when it is complete.
class NewPassageFolder {
 public:
  /// Throws Error where the path holds something else than a folder of nibble-search, or another
  /// one writes it.
  explicit NewPassageFolder(const std::filesystem::path& folder)
      : former_(lock_former(folder)),
        work_(folder, Existing::replace, {"index", "settings.json", "passages.jsonl"}) {}

  /// Where to write.
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return work_.path(); }

  /// Gives the folder its name. Throws Error.
  void commit() {
    if (former_) former_->allow_replacement();
    work_.commit(Sync::yes);
  }

 private:
  static std::optional<UpdateFile> lock_former(const std::filesystem::path& folder) {
    const auto settings = folder / "settings.json";
    std::error_code code;
    if (!std::filesystem::is_regular_file(settings, code)) return std::nullopt;
    std::optional<UpdateFile> lock(std::in_place, settings);
    remove_partial_siblings(
        (std::filesystem::absolute(folder) / "").lexically_normal().parent_path());
    return lock;
  }

  std::optional<UpdateFile> former_;
  AtomicDirectory work_;
};

}  // namespace nibble::example
