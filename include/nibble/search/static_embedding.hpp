// StaticEmbedding: texts to vectors by a table alone, the mean of the vectors of a text's tokens.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/executor.hpp>
#include <nibble/core/half.hpp>
#include <nibble/core/matrix.hpp>
#include <nibble/core/progress.hpp>
#include <nibble/core/token_id.hpp>
#include <nibble/io/json.hpp>
#include <nibble/io/sharded_safetensors.hpp>
#include <nibble/text/tokenizer.hpp>

namespace nibble {

/// How vectors are finished.
struct EmbedOptions {
  Index dims = 0;                 // the first so many (Matryoshka); 0: all
  std::optional<bool> normalize;  // to length 1, after that; by default as the model says
};

/// Static token embeddings in the manner of WordLlama and model2vec, from a local folder:
/// - model.safetensors (or shards): `embedding.weight` or `embeddings`, [vocabulary][dims], of type
///   F32, F16 or BF16, mapped and used as it is
/// - tokenizer.json, of BPE: WordLlama's. Most models of model2vec have WordPiece or Unigram ones
///   and are refused
/// - config.json, which is optional as all in it is: `hidden_size`, `vocab_size`, `pooling`
/// ("mean"),
///   `normalize`, `skip_token_ids` (which do not count), `matryoshka_dims` (those trained for)
///
/// Immutable; any number of threads may use it at once.
class StaticEmbedding {
 public:
  /// Throws Error where another file is missing, or one is broken, a field is not as above, or the
  /// tokenizer has ids beyond the table.
  [[nodiscard]] static StaticEmbedding load(const std::filesystem::path& folder) {
    const auto tensors = ShardedSafetensors::open(folder);
    auto table = tensors.find("embedding.weight");
    if (!table) table = tensors.find("embeddings");
    if (!table) {
      fail(path_text(folder), ": holds neither a tensor \"embedding.weight\" nor \"embeddings\"");
    }
    for (const char* name : {"weights", "mapping"}) {
      if (tensors.contains(name)) {
        fail(path_text(folder), ": tensor ", in_quotes(name), " is not supported");
      }
    }
    StaticEmbedding model(*std::move(table), Tokenizer::load(folder / "tokenizer.json"));
    const auto config_path = folder / "config.json";
    if (std::error_code code; std::filesystem::exists(config_path, code)) {
      model.configure(read_json_file(config_path, std::uint64_t{16} << 20), path_text(config_path));
    }
    return model;
  }

  [[nodiscard]] Index dims() const noexcept { return dims_; }
  [[nodiscard]] Index vocabulary() const noexcept { return vocabulary_; }
  /// The lengths that config.json names, in its order; any other one is allowed too.
  [[nodiscard]] std::span<const Index> matryoshka_dims() const noexcept { return matryoshka_dims_; }
  [[nodiscard]] const Tokenizer& tokenizer() const noexcept { return tokenizer_; }

  /// Writes the vector of some tokens to `output`, of as many dimensions as it holds. The mean is
  /// taken in float64; without tokens that count, it is zero. Throws Error for an id beyond the
  /// vocabulary, more dimensions than dims(), or a result that is not finite.
  void embed_tokens(std::span<const TokenId> ids, std::optional<bool> normalize,
                    std::span<float> output) const {
    check_dims(static_cast<Index>(output.size()));
    std::vector<double> sums(output.size());
    double count = 0;
    for (const TokenId id : ids) {
      if (id < 0 || id >= vocabulary_) {
        fail("token id ", id, " is beyond the table of ", vocabulary_, " tokens");
      }
      if (std::ranges::find(skipped_, id) != skipped_.end()) continue;
      add_row(id, sums);
      ++count;
    }
    double squared_norm = 0;
    for (double& sum : sums) {
      sum /= std::max(count, 1.0);
      squared_norm += sum * sum;
    }
    if (!std::isfinite(squared_norm)) fail("the mean of the tokens' vectors is not finite");
    const bool to_unit = normalize.value_or(normalize_) && squared_norm > 0;
    const double scale = to_unit ? 1 / std::sqrt(squared_norm) : 1;
    for (std::size_t i = 0; i < sums.size(); ++i) output[i] = static_cast<float>(sums[i] * scale);
  }

  /// The vectors of some texts, [texts][dims]: the same bits for any number of threads. Throws
  /// Error, naming the text by its number, for one that is not UTF-8, and as `embed_tokens`;
  /// Cancelled.
  [[nodiscard]] Matrix embed(std::span<const std::string_view> texts, ExecutorRef pool,
                             const EmbedOptions& options = {},
                             const Progress& progress = {}) const {
    constexpr Index run = 16, runs_at_once = 64;
    const Index dims = options.dims == 0 ? dims_ : options.dims;
    check_dims(dims);
    const auto count = static_cast<Index>(texts.size());
    Matrix vectors(count, dims);
    for (Index first = 0; first < count; first += run * runs_at_once) {
      report(progress, "embed", first, count);
      const Index last = std::min(count, first + run * runs_at_once);
      pool.run(divide_up(last - first, run), [&](Index task, int) {
        const Index begin = first + task * run;
        for (Index i = begin; i < std::min(last, begin + run); ++i) {
          embed_text(texts[static_cast<std::size_t>(i)], i, options.normalize,
                     {vectors.row(i).data(), static_cast<std::size_t>(dims)});
        }
      });
    }
    report(progress, "embed", count, count);
    return vectors;
  }

 private:
  StaticEmbedding(TensorView table, Tokenizer tokenizer)
      : table_(std::move(table)), tokenizer_(std::move(tokenizer)) {
    if (table_.shape().size() != 2 || table_.elements() == 0) {
      fail(table_.where(), ": expected shape [vocabulary, dims], found ",
           shape_text(table_.shape()));
    }
    vocabulary_ = table_.shape()[0];
    dims_ = table_.shape()[1];
    read_floats(table_, 0, std::span<float>());  // refuses other element types
    if (tokenizer_.vocab_size() > vocabulary_) {
      fail(table_.where(), ": has ", vocabulary_, " rows, the tokenizer ", tokenizer_.vocab_size(),
           " tokens");
    }
  }

  void configure(const nlohmann::json& config, const std::string& source) {
    const auto expect = [&](const char* field, Index expected) {
      const auto found = json_optional<Index>(config, field, source);
      if (found && *found != expected) {
        fail(json_where(source, field), ": is ", *found, ", the table has ", expected);
      }
    };
    expect("hidden_size", dims_);
    expect("vocab_size", vocabulary_);
    const auto pooling = json_optional<std::string>(config, "pooling", source);
    if (pooling.value_or("mean") != "mean") {
      fail(json_where(source, "pooling"), ": ", in_quotes(*pooling),
           " is not supported, expected mean");
    }
    normalize_ = json_optional<bool>(config, "normalize", source).value_or(false);
    skipped_ = json_optional<std::vector<TokenId>>(config, "skip_token_ids", source)
                   .value_or(std::vector<TokenId>());
    matryoshka_dims_ = json_optional<std::vector<Index>>(config, "matryoshka_dims", source)
                           .value_or(std::vector<Index>());
    for (const Index dims : matryoshka_dims_) {
      if (dims < 1 || dims > dims_) {
        fail(json_where(source, "matryoshka_dims"), ": expected 1 to ", dims_, ", found ", dims);
      }
    }
  }

  void check_dims(Index dims) const {
    if (dims < 1 || dims > dims_) fail("dims: expected 1 to ", dims_, ", found ", dims);
  }

  void embed_text(std::string_view text, Index number, std::optional<bool> normalize,
                  std::span<float> output) const {
    try {
      embed_tokens(tokenizer_.encode(text, /*add_special_tokens=*/false), normalize, output);
    } catch (const Error& error) {
      fail("text ", number, ": ", error.what());
    }
  }

  void add_row(TokenId id, std::span<double> sums) const noexcept {
    const auto add = [&]<class Stored>(Stored stored) {
      const std::byte* row = table_.data.data() + static_cast<std::size_t>(id) *
                                                      static_cast<std::size_t>(dims_) *
                                                      sizeof stored;
      for (std::size_t i = 0; i < sums.size(); ++i) {
        std::memcpy(&stored, row + i * sizeof stored, sizeof stored);  // maybe not aligned
        sums[i] += to_float(stored);
      }
    };
    switch (table_.dtype()) {
      case DType::F16:
        return add(Float16{});
      case DType::BF16:
        return add(BFloat16{});
      default:
        return add(0.0F);
    }
  }

  TensorView table_;  // [vocabulary][dims]
  Tokenizer tokenizer_;
  Index vocabulary_ = 0, dims_ = 0;
  bool normalize_ = false;
  std::vector<TokenId> skipped_;
  std::vector<Index> matryoshka_dims_;
};

}  // namespace nibble
