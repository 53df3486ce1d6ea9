// Builds small tokenizer.json texts, so that a test shows the whole tokenizer that it is about.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <nibble/io/json.hpp>
#include <nibble/text/byte_level.hpp>
#include <nibble/text/tokenizer.hpp>

namespace nibble::test {

/// Bytes as tokenizer.json writes them.
inline std::string byte_level(std::string_view bytes) {
  std::string written;
  text::append_byte_level(written, bytes);
  return written;
}

/// A tokenizer.json whose token n < 256 is byte n, and each later one the result of a merge; merges
/// are given as bytes.
inline nlohmann::json small_tokenizer(
    const std::vector<std::pair<std::string, std::string>>& merges = {}) {
  nlohmann::json vocab = nlohmann::json::object(), list = nlohmann::json::array();
  for (int byte = 0; byte < 256; ++byte) {
    vocab[byte_level(std::string(1, static_cast<char>(byte)))] = byte;
  }
  for (const auto& [left, right] : merges) {
    const int id = static_cast<int>(vocab.size());
    vocab.emplace(byte_level(left + right), id);
    list.push_back({byte_level(left), byte_level(right)});
  }
  const nlohmann::json byte_level_step = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", nlohmann::json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level_step},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", list}}}};
}

/// An element of added_tokens; `flags` overrides the defaults (not special, all else false).
inline nlohmann::json added_token(int id, const std::string& content,
                                  const nlohmann::json& flags = nlohmann::json::object()) {
  nlohmann::json token = {{"id", id},        {"content", content}, {"single_word", false},
                          {"lstrip", false}, {"rstrip", false},    {"normalized", false},
                          {"special", false}};
  token.update(flags);
  return token;
}

inline Tokenizer make_tokenizer(const nlohmann::json& json) {
  return Tokenizer::parse(json.dump(), "test.json");
}

/// The tokens of a text as the bytes that they stand for.
inline std::vector<std::string> pieces(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::string> out;
  for (const TokenId id : tokenizer.encode(text)) out.emplace_back(tokenizer.token_bytes(id));
  return out;
}

}  // namespace nibble::test
