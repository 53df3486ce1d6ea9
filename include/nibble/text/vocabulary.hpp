// Vocabulary: the tokens of a byte-level model, by id and by how the file writes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/token_id.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/json.hpp>
#include <nibble/text/byte_level.hpp>

namespace nibble::text {

/// Immutable; views stay valid as long as the object, also when it is moved.
class Vocabulary {
 public:
  /// Most tokens that may share a place in the hash table: only a file made to collide has more.
  static constexpr std::size_t max_collisions = 64;

  /// `vocab` is the object {"token": id, ...}. Throws `Error`, starting with `where`, for an id
  /// that is not an integer in [0, id_limit) or is given twice.
  Vocabulary(const nlohmann::json& vocab, std::size_t id_limit, std::string_view where) {
    if (!vocab.is_object()) fail(where, ": expected an object of token ids");
    std::size_t written_bytes = 0;
    TokenId largest = -1;
    const TokenId last = limit(id_limit);
    for (const auto& [token, value] : vocab.items()) {
      // The message is put together for a bad id alone: there are many tokens.
      const bool good =
          value.is_number_unsigned() && std::cmp_less_equal(value.get<std::uint64_t>(), last);
      const TokenId id = good ? value.get<TokenId>()
                              : token_id(value, last, concat(where, ": token ", in_quotes(token)));
      largest = id > largest ? id : largest;
      written_bytes += token.size();
    }
    // Ids far beyond the number of tokens would take memory out of proportion to the file.
    const std::size_t most = 4 * vocab.size() + 65536;
    if (std::cmp_greater_equal(largest, most)) {
      fail(where, ": id ", largest, " is out of proportion to ", vocab.size(), " tokens");
    }
    tokens_.resize(static_cast<std::size_t>(largest + 1));
    ids_.reserve(vocab.size());
    written_.reserve(written_bytes);
    bytes_.reserve(written_bytes);  // a written token is no shorter than its bytes
    for (const auto& [token, value] : vocab.items()) add(token, value.get<TokenId>(), where);
  }

  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;
  Vocabulary(Vocabulary&&) noexcept = default;
  Vocabulary& operator=(Vocabulary&&) noexcept = default;

  /// One more than the largest id; some below it may name no token.
  [[nodiscard]] std::size_t size() const noexcept { return tokens_.size(); }

  /// The token that the file writes so.
  [[nodiscard]] std::optional<TokenId> find(std::string_view written) const {
    const auto place = ids_.find(written);
    if (place == ids_.end()) return std::nullopt;
    return place->second;
  }

  [[nodiscard]] bool contains(TokenId id) const noexcept {
    return id >= 0 && static_cast<std::size_t>(id) < tokens_.size() && at(id).present;
  }

  /// The bytes of text that a token stands for; `contains(id)`.
  [[nodiscard]] std::string_view bytes(TokenId id) const noexcept { return at(id).bytes; }

  /// An id from JSON, in [0, last].
  [[nodiscard]] static TokenId token_id(const nlohmann::json& value, TokenId last,
                                        std::string_view where) {
    return nibble::detail::json_integer<TokenId>(value, where, 0, last);
  }

  /// The largest id below `id_limit` that a TokenId holds.
  [[nodiscard]] static TokenId limit(std::size_t id_limit) noexcept {
    constexpr auto most = static_cast<std::size_t>(std::numeric_limits<TokenId>::max()) - 1;
    return static_cast<TokenId>(id_limit > most ? most : id_limit) - 1;
  }

 private:
  struct Token {
    std::string_view bytes;
    bool present = false;
  };

  [[nodiscard]] const Token& at(TokenId id) const noexcept {
    return tokens_[static_cast<std::size_t>(id)];
  }

  /// Appends to an arena that was reserved, so that nothing moves.
  [[nodiscard]] static std::string_view store(std::vector<char>& arena, std::string_view text) {
    const std::size_t begin = arena.size();
    arena.insert(arena.end(), text.begin(), text.end());
    return {arena.data() + begin, text.size()};
  }

  void add(const std::string& token, TokenId id, std::string_view where) {
    Token& entry = tokens_[static_cast<std::size_t>(id)];
    if (entry.present) fail(where, ": token ", in_quotes(token), ": id ", id, " is given twice");
    const std::string_view written = store(written_, token);
    const auto place = ids_.emplace(written, id).first;
    if (ids_.bucket_size(ids_.bucket(place->first)) > max_collisions) {
      fail(where, ": token ", in_quotes(token), ": too many tokens with the same hash");
    }
    std::string bytes;
    if (!append_bytes_of(bytes, token)) bytes = token;
    entry = {store(bytes_, bytes), true};
  }

  std::vector<char> written_;
  std::vector<char> bytes_;
  std::vector<Token> tokens_;  // by id
  std::unordered_map<std::string_view, TokenId> ids_;
};

}  // namespace nibble::text
