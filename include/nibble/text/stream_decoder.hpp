// StreamDecoder: turns token ids into text as they come, never cutting a character.
#pragma once

#include <string>
#include <string_view>

#include <nibble/core/token_id.hpp>
#include <nibble/text/tokenizer.hpp>
#include <nibble/text/utf8.hpp>

namespace nibble {

/// The pieces that it returns, joined, are what `Tokenizer::decode` returns for all the ids. The
/// tokenizer must outlive it; one thread at a time.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens = true)
      : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens) {}
  explicit StreamDecoder(Tokenizer&&, bool = true) = delete;  // it would not outlive this

  /// The text that `id` completes, maybe none; valid until the next call. Malformed parts become
  /// U+FFFD. Throws `Error` for an id that names no token; the state is unchanged then.
  [[nodiscard]] std::string_view next(TokenId id) {
    const std::string_view token = tokenizer_->token_bytes(id);
    text_.clear();
    if (skip_special_tokens_ && tokenizer_->is_special(id)) return text_;
    pending_ += token;
    pending_.erase(0, text::append_lossy(text_, pending_));
    return text_;
  }

  /// Ends the stream: U+FFFD where a character was begun and never completed, else nothing. After
  /// it a new stream may begin.
  [[nodiscard]] std::string_view flush() {
    text_.clear();
    if (!pending_.empty()) text_ = text::replacement_character;
    pending_.clear();
    return text_;
  }

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  std::string pending_;  // the start of a character, 3 bytes at most
  std::string text_;
};

}  // namespace nibble
