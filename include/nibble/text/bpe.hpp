// Bpe: byte-pair encoding (Sennrich et al. 2016) over bytes (GPT-2): a piece of text becomes
// tokens.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/token_id.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/json.hpp>
#include <nibble/text/byte_level.hpp>
#include <nibble/text/merge_table.hpp>
#include <nibble/text/vocabulary.hpp>

namespace nibble::text {

/// What one thread needs to encode.
struct BpeScratch {
  struct Symbol {
    TokenId id;  // -1: merged into the one before
    std::int32_t previous;
    std::int32_t next;  // -1: the last
  };

  std::vector<Symbol> symbols;
  std::vector<std::uint64_t> queue;  // heap of rank << 32 | position
  std::string written;
};

/// Immutable; shared by threads.
class Bpe {
 public:
  /// Longest piece in bytes.
  static constexpr std::size_t max_piece = std::size_t{1} << 30;

  /// The field `model`. Throws `Error`, starting with `where`, for a type other than BPE, an option
  /// that byte-level models leave unset (dropout, byte_fallback, fuse_unk, affixes), ids outside
  /// [0, id_limit), and merges of or into unknown tokens.
  [[nodiscard]] static Bpe parse(const nlohmann::json& model, std::size_t id_limit,
                                 std::string_view where) {
    if (const auto type = json_optional<std::string>(model, "type", where);
        type.value_or("BPE") != "BPE") {
      fail(where, ": type ", in_quotes(*type), " is not supported, expected BPE");
    }
    refuse_options(model, where);
    Bpe bpe(Vocabulary(json_at(model, "vocab", where), id_limit, json_where(where, "vocab")));
    bpe.read_merges(json_at(model, "merges", where), json_where(where, "merges"));
    bpe.ignore_merges_ = json_optional<bool>(model, "ignore_merges", where).value_or(false);
    TokenId unknown = -1;
    if (const auto token = json_optional<std::string>(model, "unk_token", where)) {
      unknown = bpe.known(*token, json_where(where, "unk_token"));
    }
    for (std::size_t byte = 0; byte < 256; ++byte) {
      std::string written;
      append_utf8(written, byte_to_code_point(static_cast<unsigned char>(byte)));
      bpe.byte_ids_[byte] = bpe.vocabulary_.find(written).value_or(unknown);
    }
    return bpe;
  }

  [[nodiscard]] const Vocabulary& vocabulary() const noexcept { return vocabulary_; }

  /// Appends the tokens of one piece (not empty, raw bytes) to `out`: among the pairs that have a
  /// merge the one of least rank joins first, the leftmost of equals; n log n in the piece's
  /// length. Throws `Error` for a byte that has no token, and beyond `max_piece`.
  void encode(std::string_view piece, BpeScratch& scratch, std::vector<TokenId>& out) const {
    if (ignore_merges_) {
      scratch.written.clear();
      append_byte_level(scratch.written, piece);
      if (const auto id = vocabulary_.find(scratch.written)) return out.push_back(*id);
    }
    if (piece.size() > max_piece) {
      fail("text: a word of ", piece.size(), " bytes, expected at most ", max_piece);
    }
    begin(piece, scratch);
    merge(scratch);
    for (const BpeScratch::Symbol& symbol : scratch.symbols) {
      if (symbol.id >= 0) out.push_back(symbol.id);
    }
  }

 private:
  explicit Bpe(Vocabulary vocabulary) : vocabulary_(std::move(vocabulary)) {}

  static void refuse_options(const nlohmann::json& model, std::string_view where) {
    if (json_optional<double>(model, "dropout", where).value_or(0) != 0) {
      fail(where, ": field 'dropout': not supported, expected null");
    }
    for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (!json_optional<std::string>(model, affix, where).value_or("").empty()) {
        fail(where, ": field '", affix, "': not supported, expected null");
      }
    }
    for (const char* flag : {"byte_fallback", "fuse_unk"}) {
      if (json_optional<bool>(model, flag, where).value_or(false)) {
        fail(where, ": field '", flag, "': not supported, expected false");
      }
    }
  }

  [[nodiscard]] TokenId known(std::string_view token, std::string_view where) const {
    const auto id = vocabulary_.find(token);
    if (!id) fail(where, ": ", in_quotes(token), " is not in the vocabulary");
    return *id;
  }

  /// Merges are "left right", or ["left", "right"].
  void read_merges(const nlohmann::json& list, const std::string& where) {
    if (!list.is_array()) fail(where, ": expected an array");
    std::vector<Merge> merges;
    merges.reserve(list.size());
    std::string joined;
    for (const nlohmann::json& entry : list) {
      const auto number = static_cast<std::uint32_t>(merges.size());
      const auto place = [&] { return concat(where, ", merge ", number); };
      std::string_view left, right;
      if (entry.is_string()) {
        const std::string_view line = entry.get_ref<const std::string&>();
        if (line.starts_with("#version")) continue;  // the first line of a merges.txt
        const std::size_t space = line.find(' ');
        left = line.substr(0, space);
        right = space == std::string_view::npos ? std::string_view() : line.substr(space + 1);
        if (space == std::string_view::npos || right.find(' ') != std::string_view::npos) {
          fail(place(), ": expected two tokens, found ", in_quotes(line));
        }
      } else if (entry.is_array() && entry.size() == 2 && entry[0].is_string() &&
                 entry[1].is_string()) {
        left = entry[0].get_ref<const std::string&>();
        right = entry[1].get_ref<const std::string&>();
      } else {
        fail(place(), ": expected two tokens, found ", describe_json(entry));
      }
      joined.assign(left).append(right);
      const auto resolve = [&](std::string_view token) {
        const auto id = vocabulary_.find(token);
        if (!id) fail(place(), ": ", in_quotes(token), " is not in the vocabulary");
        return *id;
      };
      merges.push_back({resolve(left), resolve(right), resolve(joined), number});
    }
    merges_ = MergeTable(std::move(merges), vocabulary_.size());
  }

  /// One symbol a byte.
  void begin(std::string_view piece, BpeScratch& scratch) const {
    scratch.symbols.clear();
    for (const char c : piece) {
      const auto byte = static_cast<unsigned char>(c);
      const auto position = static_cast<std::int32_t>(scratch.symbols.size());
      if (byte_ids_[byte] < 0) {
        fail("text: the vocabulary has no token for byte ", static_cast<int>(byte),
             ", and no unknown token");
      }
      scratch.symbols.push_back({byte_ids_[byte], position - 1, position + 1});
    }
    scratch.symbols.back().next = -1;
  }

  void merge(BpeScratch& scratch) const {
    auto& symbols = scratch.symbols;
    auto& queue = scratch.queue;
    const auto symbol = [&](std::int32_t position) -> BpeScratch::Symbol& {
      return symbols[static_cast<std::size_t>(position)];
    };
    /// The merge of the symbol at a position with the one after it, as things stand.
    const auto merge_at = [&](std::int32_t position) -> const Merge* {
      const BpeScratch::Symbol& left = symbol(position);
      return left.id < 0 || left.next < 0 ? nullptr : merges_.find(left.id, symbol(left.next).id);
    };
    const auto key = [](const Merge& found, std::int32_t position) {
      return std::uint64_t{found.rank} << 32 | static_cast<std::uint32_t>(position);
    };
    const auto offer = [&](std::int32_t position) {
      if (const Merge* found = merge_at(position)) {
        queue.push_back(key(*found, position));
        std::push_heap(queue.begin(), queue.end(), std::greater<>());
      }
    };
    queue.clear();
    for (std::int32_t i = 0; std::cmp_less(i + 1, symbols.size()); ++i) {
      if (const Merge* found = merge_at(i)) queue.push_back(key(*found, i));
    }
    std::make_heap(queue.begin(), queue.end(), std::greater<>());
    while (!queue.empty()) {
      std::pop_heap(queue.begin(), queue.end(), std::greater<>());
      const std::uint64_t top = queue.back();
      queue.pop_back();
      const auto position = static_cast<std::int32_t>(top & 0xffffffffu);
      const Merge* found = merge_at(position);
      if (found == nullptr || found->rank != top >> 32) continue;  // a neighbour has changed
      BpeScratch::Symbol& left = symbol(position);
      BpeScratch::Symbol& right = symbol(left.next);
      left.id = found->merged;
      left.next = right.next;
      right.id = -1;
      if (left.next >= 0) symbol(left.next).previous = position;
      if (left.previous >= 0) offer(left.previous);
      offer(position);
    }
  }

  Vocabulary vocabulary_;
  MergeTable merges_;
  std::array<TokenId, 256> byte_ids_{};  // -1: none
  bool ignore_merges_ = false;
};

}  // namespace nibble::text
