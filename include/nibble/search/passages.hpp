// Cutting a text into passages of a few sentences, each to be found by itself.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace nibble {

/// Lengths in characters (code points).
struct PassageOptions {
  std::size_t joined = 300;   // sentences are joined until a passage is longer than this
  std::size_t longest = 600;  // and is then cut here
};

/// The passages of a text in UTF-8, in order. White space becomes single spaces; a sentence ends
/// with ". ". What is left at the end is a passage where it is long enough, else dropped.
[[nodiscard]] inline std::vector<std::string> cut_passages(std::string_view text,
                                                           const PassageOptions& options = {}) {
  std::vector<std::string> passages;
  std::string passage;
  std::size_t characters = 0;
  std::size_t end = 0;  // of the bytes within the longest length
  bool space = false, after_stop = false;
  const auto add_space = [&] {
    passage += ' ';
    if (++characters <= options.longest) end = passage.size();
  };
  const auto close_sentence = [&] {
    if (characters <= options.joined) return;
    passages.push_back(passage.substr(0, end));
    passage.clear();
    characters = end = 0;
  };
  for (const char c : text) {
    if (c == ' ' || (c >= '\t' && c <= '\r')) {
      space = true;
      continue;
    }
    if (space && characters > 0) add_space();
    if (space && after_stop) close_sentence();
    space = false;
    after_stop = c == '.';
    passage += c;
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) ++characters;
    if (characters <= options.longest) end = passage.size();
  }
  close_sentence();
  return passages;
}

}  // namespace nibble
