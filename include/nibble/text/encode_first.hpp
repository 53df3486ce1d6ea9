// The first tokens of a long text, without a look at the rest of it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <vector>

#include <nibble/text/tokenizer.hpp>

namespace nibble {

/// Tokens at the end of a part of a text that may differ from those of the whole: more than any
/// added token or pattern of a published tokenizer looks ahead.
inline constexpr std::size_t encode_first_margin = 8192;

/// Bytes of a text that `encode_first` takes for so many tokens, as a rule.
[[nodiscard]] inline std::size_t encode_first_bytes(std::size_t tokens) noexcept {
  constexpr std::size_t token_bytes = 8;  // more than tokens have on average
  constexpr std::size_t most = static_cast<std::size_t>(-1) / (2 * token_bytes);
  return token_bytes * (std::min(tokens, most) + encode_first_margin);
}

/// The first `count` ids of `tokenizer.encode(text)`, or all of them where there are fewer; encodes
/// as long a part of the text as that takes. The ids are the same as long as no word of the text
/// takes more than 8,192 tokens. Throws as `encode`, of what it encodes.
[[nodiscard]] inline std::vector<TokenId> encode_first(const Tokenizer& tokenizer,
                                                       std::string_view text, std::size_t count) {
  std::vector<TokenId> ids;
  for (std::size_t bytes = encode_first_bytes(count);; bytes *= 2) {
    std::size_t end = std::min(bytes, text.size());
    // Not within a character.
    while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) ++end;
    ids = tokenizer.encode(text.substr(0, end));
    if (end == text.size() || ids.size() >= count + encode_first_margin) break;
  }
  if (ids.size() > count) ids.resize(count);
  ids.shrink_to_fit();
  return ids;
}

}  // namespace nibble
