// What makes vectors of texts: a table of token embeddings or a decoder, whichever a folder holds.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <variant>

#include <nibble/dispatch/dispatch.hpp>
#include <nibble/io/json.hpp>
#include <nibble/model/embed_texts.hpp>
#include <nibble/model/model_folder.hpp>
#include <nibble/search/static_embedding.hpp>

namespace nibble::example {

/// Throws Error for another name than those of pooling_names.
[[nodiscard]] inline Pooling parse_pooling(std::string_view name) {
  for (std::size_t i = 0; i < pooling_names.size(); ++i) {
    if (name == pooling_names[i]) return static_cast<Pooling>(i);
  }
  fail("unknown pooling '", name, "'; expected mean or last");
}

/// A folder whose config.json counts layers holds a decoder, any other static token embeddings.
class TextEmbedder {
 public:
  /// `pooling` is of decoders. Throws Error.
  TextEmbedder(const std::filesystem::path& folder, std::string_view pooling, ExecutorRef pool,
               const Progress& progress = {})
      : model_(load(folder, parse_pooling(pooling), pool, progress)) {}

  [[nodiscard]] bool is_decoder() const noexcept {
    return std::holds_alternative<FromDecoder>(model_);
  }
  [[nodiscard]] Index dims() const {
    return is_decoder() ? std::get<FromDecoder>(model_).decoder.config().hidden_size
                        : std::get<StaticEmbedding>(model_).dims();
  }

  /// The vectors of some texts, cut to their first `dims`, of length 1.
  [[nodiscard]] Matrix embed(std::span<const std::string_view> texts, Index dims, ExecutorRef pool,
                             const Progress& progress = {}) const {
    if (!is_decoder()) {
      return std::get<StaticEmbedding>(model_).embed(texts, pool, {.dims = dims, .normalize = true},
                                                     progress);
    }
    const auto& [decoder, tokenizer, pooling] = std::get<FromDecoder>(model_);
    if (dims < 1 || dims > this->dims()) {
      fail("dims: expected 1 to ", this->dims(), ", found ", dims);
    }
    Workspace workspace(pool);
    Matrix vectors =
        embed_texts(decoder, tokenizer, texts, workspace, {.pooling = pooling}, progress)
            .leftCols(dims);
    for (Index i = 0; i < vectors.rows(); ++i) vectors.row(i).normalize();  // leaves zeros alone
    return vectors;
  }

 private:
  struct FromDecoder {
    Decoder decoder;
    Tokenizer tokenizer;
    Pooling pooling;
  };
  using Model = std::variant<StaticEmbedding, FromDecoder>;

  static Model load(const std::filesystem::path& folder, Pooling pooling, ExecutorRef pool,
                    const Progress& progress) {
    std::error_code code;
    if (!std::filesystem::is_directory(folder, code)) {
      fail(path_text(folder), ": no such folder; --model names one");
    }
    if (!std::filesystem::exists(folder / "config.json", code)) {
      return StaticEmbedding::load(folder);
    }
    const auto config = read_json_file(folder / "config.json", std::uint64_t{16} << 20);
    if (!config.is_object() || !config.contains("num_hidden_layers")) {
      return StaticEmbedding::load(folder);
    }
    const ModelFolder model(folder);
    return FromDecoder{model.load(pool, progress, dispatch::best()), model.tokenizer(), pooling};
  }

  Model model_;
};

}  // namespace nibble::example
