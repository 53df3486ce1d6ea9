// The added tokens of tokenizer.json: found in the text before anything else splits it.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/token_id.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/json.hpp>
#include <nibble/text/normalizer.hpp>
#include <nibble/text/unicode.hpp>
#include <nibble/text/utf8.hpp>
#include <nibble/text/vocabulary.hpp>

namespace nibble::text {

/// A token that stands for its content wherever that is written.
struct AddedToken {
  std::string content;
  TokenId id;
  bool special;      // control, such as the end of a text: left out of decoded text on request
  bool normalized;   // found in the normalized text, else in the text as given
  bool lstrip;       // takes the white space before it along
  bool rstrip;       // takes the white space after it along
  bool single_word;  // only where no word continues on either side
};

/// Finds which of a set of words a text continues with.
class WordSet {
 public:
  /// Longest word in bytes: bounds the work at one position.
  static constexpr std::size_t max_word = 4096;

  /// A word and the number that it is known by.
  using Entry = std::pair<std::string, std::size_t>;

  WordSet() = default;

  /// The words differ and are not empty.
  explicit WordSet(std::vector<Entry> words) : words_(std::move(words)) {
    std::sort(words_.begin(), words_.end());
    for (const Entry& word : words_) first_[static_cast<unsigned char>(word.first[0])] = true;
  }

  [[nodiscard]] bool empty() const noexcept { return words_.empty(); }

  /// Whether a word starts with this byte.
  [[nodiscard]] bool may_start(char byte) const noexcept {
    return first_[static_cast<unsigned char>(byte)];
  }

  /// The longest word that `text` starts with, or nullptr.
  [[nodiscard]] const Entry* longest(std::string_view text) const noexcept {
    const Entry* best = nullptr;
    auto low = words_.begin(), high = words_.end();
    // The words that agree with the text's first `length` bytes stand side by side, the one that
    // ends there in front.
    for (std::size_t length = 0; length < text.size() && low != high; ++length) {
      const auto byte = static_cast<unsigned char>(text[length]);
      const auto before = [length](const Entry& word, unsigned char value) {
        return word.first.size() <= length ||
               static_cast<unsigned char>(word.first[length]) < value;
      };
      const auto behind = [length](unsigned char value, const Entry& word) {
        return word.first.size() > length && value < static_cast<unsigned char>(word.first[length]);
      };
      low = std::lower_bound(low, high, byte, before);
      high = std::upper_bound(low, high, byte, behind);
      if (low != high && low->first.size() == length + 1) best = &*low;
    }
    return best;
  }

 private:
  std::vector<Entry> words_;  // sorted
  std::array<bool, 256> first_{};
};

/// All added tokens of a file. Immutable; shared by threads.
class AddedTokens {
 public:
  AddedTokens() = default;

  /// The field `added_tokens` (nullptr where it is null). Throws `Error`, starting with `where`,
  /// for content that is empty, too long or given twice, an id outside [0, id_limit) or given
  /// twice, or one that contradicts the vocabulary.
  [[nodiscard]] static AddedTokens parse(const nlohmann::json* field, const Normalizer& normalizer,
                                         const Vocabulary& vocabulary, std::size_t id_limit,
                                         std::string_view where) {
    AddedTokens result;
    if (field == nullptr) return result;
    const nlohmann::json& list = *field;
    if (!list.is_array()) fail(where, ": expected an array");
    std::vector<WordSet::Entry> raw, normalized;
    std::array<std::set<std::string>, 2> patterns;  // raw, normalized
    for (std::size_t i = 0; i < list.size(); ++i) {
      const std::string place = concat(where, ", element ", i);
      AddedToken token = read(list[i], Vocabulary::limit(id_limit), place);
      check_id(token, vocabulary, place);
      std::string storage;
      std::string pattern(token.normalized ? normalizer.apply(token.content, storage)
                                           : std::string_view(token.content));
      if (!patterns[token.normalized ? 1 : 0].insert(pattern).second ||
          !result.by_content_.emplace(token.content, i).second) {
        fail(place, ": content ", in_quotes(token.content), " is given twice");
      }
      if (!result.by_id_.emplace(token.id, i).second) {
        fail(place, ": id ", token.id, " is given twice");
      }
      (token.normalized ? normalized : raw).emplace_back(std::move(pattern), i);
      result.tokens_.push_back(std::move(token));
    }
    result.raw_ = WordSet(std::move(raw));
    result.normalized_ = WordSet(std::move(normalized));
    return result;
  }

  /// The token of an id or a content, or nullptr.
  [[nodiscard]] const AddedToken* find(TokenId id) const {
    const auto place = by_id_.find(id);
    return place == by_id_.end() ? nullptr : &tokens_[place->second];
  }
  [[nodiscard]] const AddedToken* find(std::string_view content) const {
    const auto place = by_content_.find(content);
    return place == by_content_.end() ? nullptr : &tokens_[place->second];
  }

  [[nodiscard]] const std::vector<AddedToken>& tokens() const noexcept { return tokens_; }

  /// The two passes over a text.
  enum class Pass { Raw, Normalized };

  /// Cuts `text` (valid UTF-8) at the tokens of a pass: calls `on_text(part)` for what lies between
  /// them (never empty) and `on_token(id)` for each, in order. Leftmost first, the longest of
  /// those that start together, without overlap; then the conditions of the token decide. Without
  /// `special`, special tokens are text.
  template <std::invocable<std::string_view> OnText, std::invocable<TokenId> OnToken>
  void split(std::string_view text, Pass pass, bool special, OnText&& on_text,
             OnToken&& on_token) const {
    const WordSet& words = pass == Pass::Raw ? raw_ : normalized_;
    std::size_t done = 0;       // text up to here is dealt with
    std::size_t space_end = 0;  // end of the white space seen last, to see it once only
    for (std::size_t at = 0; at < text.size() && !words.empty();) {
      const WordSet::Entry* found = nullptr;
      if (words.may_start(text[at])) found = words.longest(text.substr(at));
      if (found == nullptr) {
        ++at;
        continue;
      }
      const AddedToken& token = tokens_[found->second];
      std::size_t begin = at;
      std::size_t end = at + found->first.size();
      at = end;
      if (token.special && !special) continue;
      if (token.single_word && !stands_alone(text, begin, end)) continue;
      if (token.lstrip) begin = space_before(text, begin, done);
      if (token.rstrip) {
        if (end >= space_end) space_end = space_after(text, end);
        end = space_end;
      }
      if (done < begin) on_text(text.substr(done, begin - done));
      on_token(token.id);
      done = end;
    }
    if (done < text.size()) on_text(text.substr(done));
  }

 private:
  [[nodiscard]] static AddedToken read(const nlohmann::json& value, TokenId last,
                                       const std::string& where) {
    const auto flag = [&](const char* name, bool otherwise) {
      return json_optional<bool>(value, name, where).value_or(otherwise);
    };
    AddedToken token{};
    token.content = json_field<std::string>(value, "content", where);
    if (token.content.empty() || token.content.size() > WordSet::max_word) {
      fail(where, ": field 'content': ", token.content.size(), " bytes, expected 1 to ",
           WordSet::max_word);
    }
    token.id = Vocabulary::token_id(json_at(value, "id", where), last, json_where(where, "id"));
    token.special = flag("special", false);
    token.normalized = flag("normalized", !token.special);
    token.lstrip = flag("lstrip", false);
    token.rstrip = flag("rstrip", false);
    token.single_word = flag("single_word", false);
    return token;
  }

  /// An id is either new, or the one that the vocabulary has for this content.
  static void check_id(const AddedToken& token, const Vocabulary& vocabulary,
                       const std::string& where) {
    const auto known = vocabulary.find(token.content);
    if (known ? *known == token.id : !vocabulary.contains(token.id)) return;
    fail(where, ": ", in_quotes(token.content), " has id ", token.id,
         ", which contradicts the vocabulary");
  }

  /// The code point that ends before `at`.
  [[nodiscard]] static Utf8Step step_back(std::string_view text, std::size_t at) {
    std::size_t begin = at - 1;
    while ((static_cast<unsigned char>(text[begin]) & 0xc0) == 0x80) --begin;
    return utf8_step(text.substr(begin, at - begin));
  }

  [[nodiscard]] static bool stands_alone(std::string_view text, std::size_t begin,
                                         std::size_t end) {
    return (begin == 0 || !is_word(step_back(text, begin).code_point)) &&
           (end == text.size() || !is_word(utf8_step(text.substr(end)).code_point));
  }

  [[nodiscard]] static std::size_t space_before(std::string_view text, std::size_t at,
                                                std::size_t least) {
    while (at > least) {
      const Utf8Step step = step_back(text, at);
      if (!is_white_space(step.code_point)) break;
      at -= step.length;
    }
    return at;
  }

  [[nodiscard]] static std::size_t space_after(std::string_view text, std::size_t at) {
    while (at < text.size()) {
      const Utf8Step step = utf8_step(text.substr(at));
      if (!is_white_space(step.code_point)) break;
      at += step.length;
    }
    return at;
  }

  std::vector<AddedToken> tokens_;
  std::map<std::string, std::size_t, std::less<>> by_content_;
  std::map<TokenId, std::size_t> by_id_;
  WordSet raw_;
  WordSet normalized_;
};

}  // namespace nibble::text
