// Finished layers on disk, so that memory holds one layer and an interrupted run can go on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/fingerprint.hpp>
#include <nibble/io/file_lock.hpp>
#include <nibble/io/json.hpp>
#include <nibble/io/output_file.hpp>
#include <nibble/model/calibrated_layers.hpp>
#include <nibble/model/packed_checkpoint.hpp>
#include <nibble/model/recipe.hpp>
#include <nibble/model/report_json.hpp>

namespace nibble {

/// Layers in a folder: layer-<index>.safetensors, the tensors of a layer as they were quantized
/// or scaled, in the packed layout, and the reports on them, complete once it has its name;
/// choice.json, the formats that were chosen before, where they were; run.json, which says what
/// all that is of; and lock, held by the one run that writes here. Matrices are mapped, not held in
/// memory.
class LayerFiles : public CalibratedLayers {
 public:
  /// Opens the folder or makes it. `run` is an object that describes whatever its files depend
  /// on, `specs` are all tensors of the model. Throws Error where the folder cannot be made, is
  /// another thing, is being written or is of another run (naming the fields that differ), or where
  /// a file is broken.
  LayerFiles(std::filesystem::path folder, const nlohmann::json& run,
             const std::vector<TensorSpec>& specs, ExecutorRef pool)
      : folder_(std::move(folder)), pool_(pool) {
    for (const TensorSpec& spec : specs) specs_.emplace(spec.name, spec);
    Fingerprint fingerprint;
    fingerprint.add(run.dump());
    run_ = fingerprint.text();
    std::error_code code;
    if (!is_there(folder_) && !std::filesystem::create_directory(folder_, code) && code) {
      fail(path_text(folder_), ": cannot be created: ", printable(code.message(), 200));
    }
    lock_.emplace(lock_file(folder_), in_use);
    const auto run_file = folder_ / run_name;
    if (std::filesystem::exists(file(0), code) || has_choice()) {
      require_same(run, read_json_file(run_file, std::uint64_t{16} << 20));
      while (std::filesystem::exists(file(finished_), code)) open(file(finished_));
      return;
    }
    try {
      write_text_file(run_file, run.dump(1) + "\n", Sync::yes);
    } catch (...) {
      remove();
      throw;
    }
  }

  LayerFiles(const LayerFiles&) = delete;
  LayerFiles& operator=(const LayerFiles&) = delete;

  /// The folder stays, unless there is nothing finished in it.
  ~LayerFiles() override {
    if (!is_kept()) remove();
  }

  /// Whether the folder outlives the object.
  [[nodiscard]] bool is_kept() const { return finished_ > 0 || has_choice(); }

  [[nodiscard]] const std::filesystem::path& folder() const noexcept { return folder_; }
  [[nodiscard]] Index finished() const override { return finished_; }
  [[nodiscard]] const CalibratedTensors& tensors() const override { return tensors_; }

  void add(CalibratedTensors layer) override {
    const Provider provider(layer);
    std::vector<TensorSpec> specs;
    for (const auto& [name, matrix] : layer.matrices) specs.push_back(specs_.find(name)->second);
    for (const auto& [name, vector] : layer.vectors) specs.push_back(specs_.find(name)->second);
    PackedCheckpoint(std::move(specs), provider,
                     {{reports_key, reports_to_json(layer.reports).dump()}, {run_key, run_}})
        .write(file(finished_), pool_);
    open(file(finished_));
  }

  /// The formats that were chosen for the run, as `keep_choice` was given them; nothing where they
  /// were not. Throws Error where the file is broken.
  [[nodiscard]] std::optional<nlohmann::json> choice() const {
    if (!has_choice()) return std::nullopt;
    return read_json_file(choice_file());
  }
  void keep_choice(const nlohmann::json& choice) const {
    write_text_file(choice_file(), choice.dump(1) + "\n", Sync::yes);
  }
  [[nodiscard]] std::filesystem::path choice_file() const { return folder_ / "choice.json"; }

  /// Throws Error where a finished layer lacks a Linear that the recipe quantizes, or has it in
  /// another format.
  void require_recipe(const Recipe& recipe) const {
    for (Index layer = 0; layer < finished_; ++layer) {
      const std::string prefix = layer_tensor_name(layer, "");
      for (auto spec = specs_.lower_bound(prefix);
           spec != specs_.end() && spec->first.starts_with(prefix); ++spec) {
        const RecipeRule* rule = recipe.find(spec->first);
        if (spec->second.role != TensorRole::Linear || rule == nullptr) continue;
        const auto found = tensors_.matrices.find(spec->first);
        const std::string format =
            found == tensors_.matrices.end() ? "lacking" : describe_format(found->second.format());
        if (format == describe_format(rule->format)) continue;
        fail(path_text(file(layer)), ": ", spec->first, " is ", format, ", expected ",
             describe_format(rule->format));
      }
    }
  }

  /// Deletes the folder. Nobody uses the matrices any more.
  void remove() noexcept {
    tensors_ = {};
    finished_ = 0;
    std::error_code ignored;
    remove(folder_, lock_, ignored);
  }

  /// Deletes what an earlier run has left, if anything. Throws Error where the folder is another
  /// thing, or is being written.
  static void discard(const std::filesystem::path& folder) {
    if (!is_there(folder)) return;
    std::optional<FileLock> lock(std::in_place, lock_file(folder), in_use);
    std::error_code code;
    remove(folder, lock, code);
    if (code) fail(path_text(folder), ": cannot be deleted: ", printable(code.message(), 200));
  }

 private:
  static constexpr const char* reports_key = "nibble.reports";
  static constexpr const char* run_key = "nibble.run";
  static constexpr const char* run_name = "run.json";
  static constexpr const char* lock_name = "lock";
  static constexpr const char* in_use = "another run is writing here";

  /// The tensors of a layer.
  class Provider : public TensorProvider {
   public:
    explicit Provider(const CalibratedTensors& tensors) : tensors_(tensors) {}
    [[nodiscard]] AnyFormat format(const TensorSpec& spec) const override {
      return tensors_.matrices.find(spec.name)->second.format();
    }
    [[nodiscard]] AnyMatrix matrix(const TensorSpec& spec, ExecutorRef) const override {
      return tensors_.matrices.find(spec.name)->second;
    }
    [[nodiscard]] std::vector<float> vector(const TensorSpec& spec) const override {
      return tensors_.vectors.find(spec.name)->second;
    }

   private:
    const CalibratedTensors& tensors_;
  };

  [[nodiscard]] static std::filesystem::path lock_file(const std::filesystem::path& folder) {
    return folder / lock_name;
  }

  /// Whether there is a folder that a run has made. Throws Error where there is something else.
  [[nodiscard]] static bool is_there(const std::filesystem::path& folder) {
    std::error_code code;
    if (!std::filesystem::exists(std::filesystem::symlink_status(folder, code))) return false;
    if (std::filesystem::is_regular_file(folder / run_name, code)) return true;
    // A run that was killed right at the start leaves no more than this.
    std::filesystem::directory_iterator entry(folder, code);
    bool own = !code;
    for (; !code && entry != std::filesystem::directory_iterator(); entry.increment(code)) {
      const std::string name = path_text(entry->path().filename());
      own = own && (name == lock_name || name.starts_with(concat(".", run_name, ".partial-")));
    }
    if (!own || code) {
      fail(path_text(folder), ": in the way: expected an interrupted run, with a run.json");
    }
    return true;
  }

  /// Deletes a folder whose lock is held, and gives the lock up.
  static void remove(const std::filesystem::path& folder, std::optional<FileLock>& lock,
                     std::error_code& code) noexcept {
    std::filesystem::remove_all(folder, code);
    lock.reset();
    if (FileLock::keeps_file) std::filesystem::remove_all(folder, code);
  }

  [[nodiscard]] bool has_choice() const {
    std::error_code code;
    return std::filesystem::exists(choice_file(), code);
  }
  [[nodiscard]] std::filesystem::path file(Index layer) const {
    return folder_ / concat("layer-", layer, ".safetensors");
  }

  void require_same(const nlohmann::json& run, const nlohmann::json& found) const {
    std::string differences;
    for (const auto& [field, value] : run.items()) {
      const nlohmann::json* other = found.is_object() ? json_find(found, field, "") : nullptr;
      if (other != nullptr && *other == value) continue;
      differences += (differences.empty() ? "" : ", ") + field;
      if (other != nullptr) differences += differing_rule(value, *other);
    }
    if (differences.empty()) return;
    fail(path_text(folder_),
         ": holds what is finished of another run, which differs in: ", differences,
         "; repeat that run, or --restart");
  }

  /// Where two recipes differ first; "" for anything else.
  [[nodiscard]] static std::string differing_rule(const nlohmann::json& a,
                                                  const nlohmann::json& b) {
    if (!a.is_object() || !b.is_object() || !a.contains("rules") || !b.contains("rules")) return {};
    const nlohmann::json& own = a["rules"];
    const nlohmann::json& other = b["rules"];
    if (!own.is_array() || !other.is_array()) return {};
    std::size_t rule = 0;
    while (rule < own.size() && rule < other.size() && own[rule] == other[rule]) ++rule;
    return concat(" (rule ", rule + 1, ")");
  }

  void open(const std::filesystem::path& path) {
    const SafetensorsFile content = SafetensorsFile::open(path);
    const PackedTensors packed(content);
    const auto run = content.metadata().find(run_key);
    if (run == content.metadata().end() || run->second != run_) {
      fail(path_text(path), ": is of another run than ", run_name, " beside it");
    }
    for (const TensorInfo& info : content.tensors()) {
      const auto spec = specs_.find(info.name);
      if (spec == specs_.end() || !info.name.starts_with(layer_tensor_name(finished_, ""))) {
        fail(path_text(path), ": ", in_quotes(info.name, 200), " is no tensor of the layer");
      }
      if (spec->second.role == TensorRole::Vector) {
        tensors_.vectors.emplace(info.name, packed.vector(spec->second));
      } else {
        tensors_.matrices.emplace(info.name, packed.matrix(spec->second, pool_));
      }
    }
    const auto reports = content.metadata().find(reports_key);
    if (reports == content.metadata().end()) fail(path_text(path), ": lacks its reports");
    for (TensorReport& report : reports_from_json(reports->second, path_text(path))) {
      tensors_.reports.push_back(std::move(report));
    }
    ++finished_;
  }

  std::filesystem::path folder_;
  ExecutorRef pool_;
  std::map<std::string, TensorSpec, std::less<>> specs_;
  std::string run_;  // a fingerprint of what describes the run
  std::optional<FileLock> lock_;
  CalibratedTensors tensors_;
  Index finished_ = 0;
};

}  // namespace nibble
