// Small random models: folders as Hugging Face has them, made to order, and what runs them.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/nibble.hpp>  // whole, before any test opens a namespace

#include "support/fixtures.hpp"

namespace nibble::test {

/// What a folder is made of.
struct TinyModel {
  /// Merged into the config of a small Llama model (hidden size 24, intermediate size 37, 2 layers
  /// of 4 heads and 2 KV heads of 10, 53 tokens, a context of 256: few multiples of anything);
  /// null removes a key.
  nlohmann::json patch = nlohmann::json::object();
  unsigned seed = 1;
  DType dtype = DType::F32;
  /// Changes a tensor before it is written; returning false leaves it out.
  std::function<bool(TensorLayout& layout, std::vector<float>& values)> edit = {};
};

/// Writes config.json and model.safetensors into `folder`, which is made.
void write_tiny_model(const std::filesystem::path& folder, const TinyModel& model = {});

/// A tiny model on disk for the length of a test.
class TinyFolder {
 public:
  explicit TinyFolder(const TinyModel& model = {}) { write_tiny_model(path(), model); }
  [[nodiscard]] std::filesystem::path path() const { return directory_ / "model"; }
  [[nodiscard]] ModelFolder open() const { return ModelFolder(path()); }
  /// Beside the model.
  [[nodiscard]] std::filesystem::path operator/(const std::filesystem::path& name) const {
    return directory_ / name;
  }

 private:
  TemporaryDirectory directory_;
};

/// One rule for every Linear of the blocks.
Recipe uniform_recipe(std::string_view format, const FormatOptions& options = {});

/// `quantize_model`, and `ModelFolder::load`, compiled once for all tests.
Decoder quantized(const ModelFolder& folder, const Recipe& recipe, ExecutorRef pool);
Decoder loaded(const ModelFolder& folder, ExecutorRef pool);

/// The tensors of a model as `provider` delivers them, under a configuration of one's own.
Decoder decoder_of(const ModelConfig& config, const TensorProvider& provider, ExecutorRef pool);

/// How to run.
struct RunOptions {
  ActivationMode activations = ActivationMode::Native;
  KvType kv = KvType::Float16;
  Index chunk = 512;  // tokens taken in at a time
};

/// In float32 throughout, to compare with other implementations.
inline constexpr RunOptions exact_run{.activations = ActivationMode::Float, .kv = KvType::Float32};

/// The logits of every token of one sequence, [tokens][vocabulary].
Matrix logits_of(const Decoder& decoder, std::span<const TokenId> tokens, ExecutorRef pool,
                 const RunOptions& options = {});

/// Ids within a vocabulary.
std::vector<TokenId> random_tokens(Index vocab_size, Index count, unsigned seed = 1);

/// Whether two matrices have the same shape and the same bits.
bool same_bits(const Matrix& a, const Matrix& b);

/// Every file below a folder, with its bytes, as text to compare.
std::vector<std::string> listing(const std::filesystem::path& folder);

}  // namespace nibble::test
