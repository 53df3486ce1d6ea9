// Tokenizer: text to token ids and back, as the tokenizer.json of a Hugging Face model defines it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/token_id.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/json.hpp>
#include <nibble/io/text_file.hpp>
#include <nibble/text/added_tokens.hpp>
#include <nibble/text/bpe.hpp>
#include <nibble/text/normalizer.hpp>
#include <nibble/text/post_processor.hpp>
#include <nibble/text/pre_tokenizer.hpp>
#include <nibble/text/utf8.hpp>

namespace nibble {

/// A byte-level BPE tokenizer (GPT-2, Llama 3, Qwen 2 and their kin), with the results of the
/// `tokenizers` library. Immutable after loading; any number of threads may use it at once.
///
/// A component that is not supported is refused by name while loading. Truncation and padding of
/// the file are ignored, as `transformers` ignores them unless asked. Differences from the library:
/// where it drops what it cannot encode or decode, or renumbers an added token, this throws; and an
/// added token decodes to its content, even where that could be read as GPT-2's byte alphabet.
class Tokenizer {
 public:
  /// Largest file in bytes; the largest published ones have a third of it.
  static constexpr std::uint64_t max_file_bytes = std::uint64_t{128} << 20;

  /// Reads a tokenizer.json. Throws `Error`, naming the file, where it cannot be read or `parse`
  /// refuses it.
  [[nodiscard]] static Tokenizer load(const std::filesystem::path& tokenizer_json) {
    return parse(read_text_file(tokenizer_json, max_file_bytes), path_text(tokenizer_json));
  }

  /// Reads the text of a tokenizer.json. Throws `Error`, starting with `source_name`, for malformed
  /// JSON, missing or mistyped fields, unsupported components, ids that are negative, given twice
  /// or not below the text's length in bytes (more than any such file can name), and merges of
  /// unknown tokens.
  [[nodiscard]] static Tokenizer parse(std::string_view json, std::string_view source_name) {
    const nlohmann::json root = parse_json(json, source_name);
    check_version(root, source_name);
    return Tokenizer(root, json.size(), source_name);
  }

  /// The ids of `text`, in which added tokens are recognized; with `add_special_tokens` between
  /// those that the file puts around a text (such as a BOS). Throws `Error` for a text that is not
  /// valid UTF-8, naming the byte, or that a pattern of the file takes too much work on.
  [[nodiscard]] std::vector<TokenId> encode(std::string_view text,
                                            bool add_special_tokens = true) const {
    std::vector<TokenId> ids;
    if (add_special_tokens) ids = post_processor_.before;
    append(text, /*special=*/true, ids);
    if (add_special_tokens) {
      ids.insert(ids.end(), post_processor_.after.begin(), post_processor_.after.end());
    }
    return ids;
  }

  /// The ids of `text` as nothing but text: no special token is recognized in it and none is added.
  /// For text from strangers within a prompt. Throws as `encode`.
  [[nodiscard]] std::vector<TokenId> encode_plain(std::string_view text) const {
    std::vector<TokenId> ids;
    append(text, /*special=*/false, ids);
    return ids;
  }

  /// The text of `ids`, valid UTF-8: each malformed part becomes U+FFFD. Throws `Error` for an id
  /// that names no token.
  [[nodiscard]] std::string decode(std::span<const TokenId> ids,
                                   bool skip_special_tokens = true) const {
    std::string bytes;
    for (const TokenId id : ids) {
      const std::string_view token = token_bytes(id);
      if (!(skip_special_tokens && is_special(id))) bytes += token;
    }
    std::string text;
    text.reserve(bytes.size());
    if (text::append_lossy(text, bytes) < bytes.size()) text += text::replacement_character;
    return text;
  }

  /// The bytes that a token stands for, maybe a part of a character; an added token stands for its
  /// content. They live as long as the tokenizer. Throws `Error` for an id that names no token.
  [[nodiscard]] std::string_view token_bytes(TokenId id) const {
    if (id < 0 || static_cast<std::size_t>(id) >= tokens_.size() ||
        tokens_[static_cast<std::size_t>(id)].kind == Kind::None) {
      fail("token id ", id, " names no token of a vocabulary of ", tokens_.size());
    }
    return tokens_[static_cast<std::size_t>(id)].bytes;
  }

  /// The id of a token as tokenizer.json writes it: "<|end_of_text|>", "Ġthe".
  [[nodiscard]] std::optional<TokenId> find_token(std::string_view token) const {
    if (const text::AddedToken* added = added_.find(token)) return added->id;
    return bpe_.vocabulary().find(token);
  }

  /// One more than the largest id; some below it may name no token.
  [[nodiscard]] Index vocab_size() const noexcept { return static_cast<Index>(tokens_.size()); }

  /// Whether `id` names a token that controls the model and is no text; false for any other number.
  [[nodiscard]] bool is_special(TokenId id) const noexcept {
    return id >= 0 && static_cast<std::size_t>(id) < tokens_.size() &&
           tokens_[static_cast<std::size_t>(id)].kind == Kind::Special;
  }

 private:
  enum class Kind : std::uint8_t { None, Text, Special };
  struct Token {
    std::string_view bytes;  // of bpe_ or added_
    Kind kind = Kind::None;
  };

  Tokenizer(const nlohmann::json& root, std::size_t id_limit, std::string_view source)
      : bpe_(text::Bpe::parse(json_at(root, "model", source), id_limit, concat(source, ": model"))),
        normalizer_(text::Normalizer::parse(json_find(root, "normalizer", source),
                                            concat(source, ": normalizer"))),
        pre_tokenizer_(text::PreTokenizer::parse(json_find(root, "pre_tokenizer", source),
                                                 concat(source, ": pre_tokenizer"))),
        post_processor_(text::PostProcessor::parse(json_find(root, "post_processor", source),
                                                   id_limit, concat(source, ": post_processor"))),
        added_(text::AddedTokens::parse(json_find(root, "added_tokens", source), normalizer_,
                                        bpe_.vocabulary(), id_limit,
                                        concat(source, ": added_tokens"))) {
    check_decoder(json_at(root, "decoder", source), concat(source, ": decoder"));
    list_tokens();
    for (const auto* ids : {&post_processor_.before, &post_processor_.after}) {
      for (const TokenId id : *ids) {
        if (static_cast<std::size_t>(id) >= tokens_.size() ||
            tokens_[static_cast<std::size_t>(id)].kind == Kind::None) {
          fail(source, ": post_processor: id ", id, " names no token");
        }
      }
    }
  }

  static void check_version(const nlohmann::json& root, std::string_view source) {
    const auto version = json_optional<std::string>(root, "version", source);
    if (version.value_or("1.0") != "1.0") {
      fail(source, ": version ", in_quotes(*version), " is unknown, expected 1.0");
    }
  }

  static void check_decoder(const nlohmann::json& decoder, const std::string& where) {
    const auto type = json_field<std::string>(decoder, "type", where);
    if (type == "ByteLevel") return;
    const nlohmann::json* parts =
        type == "Sequence" ? &json_at(decoder, "decoders", where) : nullptr;
    if (parts == nullptr || !parts->is_array() || parts->size() != 1) {
      fail(where, ": type ", in_quotes(type), " is not supported, expected ByteLevel");
    }
    check_decoder(parts->front(), where);
  }

  void list_tokens() {
    const text::Vocabulary& vocabulary = bpe_.vocabulary();
    std::size_t size = vocabulary.size();
    for (const text::AddedToken& token : added_.tokens()) {
      size = std::max(size, static_cast<std::size_t>(token.id) + 1);
    }
    tokens_.resize(size);
    for (std::size_t i = 0; i < vocabulary.size(); ++i) {
      const auto id = static_cast<TokenId>(i);
      if (vocabulary.contains(id)) tokens_[i] = {vocabulary.bytes(id), Kind::Text};
    }
    for (const text::AddedToken& token : added_.tokens()) {
      tokens_[static_cast<std::size_t>(token.id)] = {token.content,
                                                     token.special ? Kind::Special : Kind::Text};
    }
  }

  void append(std::string_view text, bool special, std::vector<TokenId>& ids) const {
    using Pass = text::AddedTokens::Pass;
    if (const auto invalid = text::find_invalid_utf8(text)) {
      fail("text: invalid UTF-8 at byte ", *invalid, " of ", text.size());
    }
    text::PreTokenizerScratch pieces(text.size());
    text::BpeScratch bpe;
    std::string normalized;
    const auto on_token = [&](TokenId id) { ids.push_back(id); };
    const auto on_words = [&](std::string_view part) {
      pre_tokenizer_.split(part, pieces);
      for (const std::string_view piece : pieces.pieces) bpe_.encode(piece, bpe, ids);
    };
    const auto on_text = [&](std::string_view part) {
      added_.split(normalizer_.apply(part, normalized), Pass::Normalized, special, on_words,
                   on_token);
    };
    added_.split(text, Pass::Raw, special, on_text, on_token);
  }

  text::Bpe bpe_;
  text::Normalizer normalizer_;
  text::PreTokenizer pre_tokenizer_;
  text::PostProcessor post_processor_;
  text::AddedTokens added_;
  std::vector<Token> tokens_;  // by id
};

}  // namespace nibble
