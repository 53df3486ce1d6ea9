// A model on disk: a Hugging Face folder, or one that nibble wrote.
#pragma once

#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include <nibble/io/json.hpp>
#include <nibble/model/decoder.hpp>
#include <nibble/model/float_tensors.hpp>
#include <nibble/model/generation_config.hpp>
#include <nibble/model/model_config.hpp>
#include <nibble/model/packed_tensors.hpp>
#include <nibble/text/tokenizer.hpp>

namespace nibble {

/// An opened folder. Opening maps the files and reads their headers; tensors and the tokenizer are
/// read when they are asked for.
class ModelFolder {
 public:
  /// Throws Error where the folder, its config.json or its safetensors files are missing, broken or
  /// not supported.
  explicit ModelFolder(std::filesystem::path path) : path_(std::move(path)) {
    std::error_code code;
    if (!std::filesystem::is_directory(path_, code)) {
      fail(path_text(path_), ": expected a model folder, found ",
           std::filesystem::exists(path_, code) ? "a file" : "nothing");
    }
    const auto config_path = path_ / "config.json";
    config_json_ = read_json_file(config_path, std::uint64_t{16} << 20);
    config_ = parse_model_config(config_json_, path_text(config_path));
    if (config_.is_nibble) {
      tensors_ =
          std::make_unique<PackedTensors>(SafetensorsFile::open(path_ / "model.safetensors"));
    } else {
      auto floats = std::make_unique<FloatTensors>(ShardedSafetensors::open(path_));
      float_tensors_ = floats.get();
      tensors_ = std::move(floats);
    }
  }

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  [[nodiscard]] const ModelConfig& config() const noexcept { return config_; }
  [[nodiscard]] const nlohmann::json& config_json() const noexcept { return config_json_; }
  [[nodiscard]] const TensorProvider& tensors() const noexcept { return *tensors_; }

  /// The float tensors that a quantizer starts from. Throws Error where the folder is quantized.
  [[nodiscard]] const FloatTensors& float_tensors() const {
    if (float_tensors_ == nullptr) {
      fail(path_text(path_), ": is quantized already; quantize from the original model");
    }
    return *float_tensors_;
  }

  /// Parses tokenizer.json. Throws Error.
  [[nodiscard]] Tokenizer tokenizer() const { return Tokenizer::load(path_ / "tokenizer.json"); }

  /// What generation_config.json says; nothing where it is absent. The ids that end a text are the
  /// config's where the file names none.
  [[nodiscard]] GenerationDefaults generation_defaults() const {
    GenerationDefaults defaults;
    const auto file = path_ / "generation_config.json";
    std::error_code code;
    if (std::filesystem::exists(file, code)) {
      defaults =
          parse_generation_defaults(read_json_file(file, std::uint64_t{1} << 20), path_text(file));
    }
    if (defaults.eos_ids.empty()) defaults.eos_ids = config_.eos_ids;
    return defaults;
  }

  /// The model as it is stored. Throws Error or Cancelled.
  [[nodiscard]] Decoder load(ExecutorRef pool, const Progress& progress = {},
                             const KernelTable& kernels = nibble::kernels<>()) const {
    return Decoder(config_, *tensors_, pool, progress, kernels);
  }

 private:
  std::filesystem::path path_;
  nlohmann::json config_json_;
  ModelConfig config_;
  std::unique_ptr<TensorProvider> tensors_;
  const FloatTensors* float_tensors_ = nullptr;  // tensors_, where it is one
};

}  // namespace nibble
