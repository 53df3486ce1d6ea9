// ShardedSafetensors: the weights of a model folder, in one safetensors file or in several.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/json.hpp>
#include <nibble/io/safetensors.hpp>

namespace nibble {

/// Whether a file name from an index stays inside its folder: no separators, "..", drive letters
/// or control characters.
[[nodiscard]] inline bool is_plain_file_name(std::string_view name) noexcept {
  return !name.empty() && name != "." && name.find("..") == std::string_view::npos &&
         std::ranges::none_of(name, [](char c) {
           return c == '/' || c == '\\' || c == ':' || static_cast<unsigned char>(c) < 0x20;
         });
}

/// The shards that a model.safetensors.index.json names: tensor name to file name. Throws `Error`
/// for another structure, an empty map, or a file name that leaves the folder.
[[nodiscard]] inline std::map<std::string, std::string> parse_safetensors_index(
    const nlohmann::json& index, std::string_view source) {
  const nlohmann::json& weight_map = json_at(index, "weight_map", source);
  const std::string where = json_where(source, "weight_map");
  if (!weight_map.is_object() || weight_map.empty()) {
    fail(where, ": expected an object of tensor names, found ", describe_json(weight_map));
  }
  std::map<std::string, std::string> files;
  for (const auto& [tensor, file] : weight_map.items()) {
    auto name = json_value<std::string>(file, concat(where, ": ", in_quotes(tensor, 200)));
    if (!is_plain_file_name(name)) {
      fail(where, ": ", in_quotes(tensor, 200), ": expected the name of a file in the same folder",
           ", found ", in_quotes(name));
    }
    files.emplace_hint(files.end(), tensor, std::move(name));
  }
  return files;
}

/// All tensors of a folder by name. Cheap to copy; safe to read from several threads.
class ShardedSafetensors {
 public:
  /// Opens `folder`/model.safetensors, or else the shards of model.safetensors.index.json. Throws
  /// `Error` where neither is there, for a broken file, a tensor that the index names and its
  /// shard lacks, or one that two shards hold.
  [[nodiscard]] static ShardedSafetensors open(const std::filesystem::path& folder) {
    std::error_code code;
    if (!std::filesystem::is_directory(folder, code)) {
      fail(path_text(folder), ": expected a model folder, found ",
           std::filesystem::exists(folder, code) ? "something else" : "nothing");
    }
    ShardedSafetensors model;
    model.folder_ = folder;
    const auto single = folder / "model.safetensors";
    if (std::filesystem::exists(single, code)) {
      model.add(SafetensorsFile::open(single));
      return model;
    }
    const auto index_path = folder / "model.safetensors.index.json";
    if (!std::filesystem::exists(index_path, code)) {
      fail(path_text(folder), ": holds neither model.safetensors nor model.safetensors.index.json");
    }
    const auto index = parse_safetensors_index(read_json_file(index_path), path_text(index_path));
    std::map<std::string_view, std::size_t> shards;  // by file name, positions in model.shards_
    for (const auto& [tensor, file] : index) {
      const auto [place, fresh] = shards.try_emplace(file, model.shards_.size());
      if (fresh) model.add(SafetensorsFile::open(folder / utf8_path(file)));
      const auto found = model.tensors_.find(tensor);
      if (found == model.tensors_.end() || found->second.shard != place->second) {
        fail(path_text(index_path), ": tensor ", in_quotes(tensor, 200), " is not in ",
             printable(file), ", where the index has it");
      }
    }
    return model;
  }

  /// The tensor of that name, if there is one.
  [[nodiscard]] std::optional<TensorView> find(std::string_view name) const {
    const auto place = tensors_.find(name);
    if (place == tensors_.end()) return std::nullopt;
    return shards_[place->second.shard].view(*place->second.info);
  }

  /// The tensor of that name. Throws `Error`, naming it and the folder, where there is none.
  [[nodiscard]] TensorView at(std::string_view name) const {
    auto found = find(name);
    if (!found) fail(path_text(folder_), ": no tensor ", in_quotes(name, 200));
    return *std::move(found);
  }

  [[nodiscard]] bool contains(std::string_view name) const { return tensors_.contains(name); }

  /// Every tensor's name, in order.
  [[nodiscard]] std::vector<std::string_view> names() const {
    std::vector<std::string_view> all;
    all.reserve(tensors_.size());
    for (const auto& [name, place] : tensors_) all.push_back(name);
    return all;
  }

  /// The files, whose `tensors()` list what they hold.
  [[nodiscard]] std::span<const SafetensorsFile> shards() const noexcept { return shards_; }

  [[nodiscard]] const std::filesystem::path& folder() const noexcept { return folder_; }

 private:
  struct Place {
    std::size_t shard;
    const TensorInfo* info;  // owned by the shard's shared content
  };

  ShardedSafetensors() = default;

  void add(SafetensorsFile file) {
    for (const TensorInfo& info : file.tensors()) {
      const auto [place, fresh] = tensors_.try_emplace(info.name, Place{shards_.size(), &info});
      if (!fresh) {
        fail(path_text(file.path()), ": tensor ", in_quotes(info.name, 200), " is also in ",
             path_text(shards_[place->second.shard].path().filename()));
      }
    }
    shards_.push_back(std::move(file));
  }

  [[nodiscard]] static std::filesystem::path utf8_path(const std::string& name) {
    return std::u8string(name.begin(), name.end());
  }

  std::filesystem::path folder_;
  std::vector<SafetensorsFile> shards_;
  std::map<std::string, Place, std::less<>> tensors_;
};

}  // namespace nibble
