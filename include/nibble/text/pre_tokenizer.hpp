// The pre-tokenizers of tokenizer.json: they cut text into the pieces that are merged separately.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/json.hpp>
#include <nibble/text/regex.hpp>
#include <nibble/text/split.hpp>
#include <nibble/text/unicode.hpp>
#include <nibble/text/utf8.hpp>

namespace nibble::text {

/// The pattern of `ByteLevel` with `use_regex` (GPT-2, `encoder.py`).
inline constexpr std::string_view gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// What one thread needs to split a text. `pieces` is the result.
struct PreTokenizerScratch {
  explicit PreTokenizerScratch(std::size_t text_bytes) : regex(text_bytes) {}

  RegexScratch regex;
  std::vector<std::string_view> pieces;
  std::vector<std::string_view> next;
  std::vector<SplitRange> ranges;
  std::deque<std::string> prefixed;  // pieces that got a space before them
};

/// A sequence of splits, of which the last is `ByteLevel`: from there on a piece means its bytes.
class PreTokenizer {
 public:
  /// Most steps that a sequence may hold.
  static constexpr std::size_t max_steps = 32;

  /// The field `pre_tokenizer` (nullptr where it is null): ByteLevel, or a Sequence of Split and
  /// Digits that ByteLevel ends. Throws `Error`, starting with `where`, for any other type, order
  /// or pattern.
  [[nodiscard]] static PreTokenizer parse(const nlohmann::json* value, std::string_view where) {
    PreTokenizer result;
    if (value != nullptr) result.add(*value, where);
    if (!result.complete_) fail(where, ": expected ByteLevel as the last type, found none");
    return result;
  }

  /// Cuts `text` (valid UTF-8) into `scratch.pieces`, none of them empty; they view `text` or
  /// `scratch`. Throws `Error` where a pattern takes too much work.
  void split(std::string_view text, PreTokenizerScratch& scratch) const {
    scratch.prefixed.clear();
    scratch.pieces.clear();
    if (!text.empty()) scratch.pieces.push_back(text);
    for (const Step& step : steps_) {
      scratch.next.clear();
      for (const std::string_view piece : scratch.pieces) {
        std::visit([&](const auto& kind) { cut(piece, kind, scratch); }, step);
      }
      scratch.pieces.swap(scratch.next);
    }
  }

 private:
  struct Split {
    Regex pattern;
    SplitBehavior behavior;
    bool invert;
  };
  struct Digits {
    bool individual;
  };
  struct PrefixSpace {};  // ByteLevel's add_prefix_space; its pattern is a Split
  using Step = std::variant<Split, Digits, PrefixSpace>;

  static void take(std::string_view piece, SplitBehavior behavior, PreTokenizerScratch& scratch) {
    apply_behavior(scratch.ranges, behavior);
    for (const SplitRange& range : scratch.ranges) {
      if (range.begin == range.end) continue;
      scratch.next.push_back(piece.substr(range.begin, range.end - range.begin));
    }
  }

  static void cut(std::string_view piece, const Split& split, PreTokenizerScratch& scratch) {
    scratch.ranges.clear();
    std::size_t last = 0;
    split.pattern.for_each_match(piece, scratch.regex, [&](std::size_t begin, std::size_t end) {
      if (last != begin) scratch.ranges.push_back({last, begin, split.invert});
      scratch.ranges.push_back({begin, end, !split.invert});
      last = end;
    });
    if (last != piece.size()) scratch.ranges.push_back({last, piece.size(), split.invert});
    take(piece, split.behavior, scratch);
  }

  static void cut(std::string_view piece, Digits digits, PreTokenizerScratch& scratch) {
    scratch.ranges.clear();
    std::size_t last = 0;
    for (std::size_t at = 0; at < piece.size();) {
      const Utf8Step step = utf8_step(piece.substr(at));
      const std::size_t end = at + step.length;
      if (is_numeric(step.code_point)) {
        if (last != at) scratch.ranges.push_back({last, at, false});
        scratch.ranges.push_back({at, end, true});
        last = end;
      }
      at = end;
    }
    if (last != piece.size()) scratch.ranges.push_back({last, piece.size(), false});
    take(piece, digits.individual ? SplitBehavior::Isolated : SplitBehavior::Contiguous, scratch);
  }

  static void cut(std::string_view piece, PrefixSpace, PreTokenizerScratch& scratch) {
    if (!piece.starts_with(' ')) {
      std::string& copy = scratch.prefixed.emplace_back(" ");
      copy += piece;
      piece = copy;
    }
    scratch.next.push_back(piece);
  }

  template <class Kind>
  void push(Kind step, std::string_view where) {
    if (steps_.size() == max_steps) fail(where, ": more than ", max_steps, " steps");
    steps_.emplace_back(std::move(step));
  }

  void add(const nlohmann::json& value, std::string_view where) {
    const auto type = json_field<std::string>(value, "type", where);
    if (type == "Sequence") {
      const nlohmann::json& parts = json_at(value, "pretokenizers", where);
      if (!parts.is_array()) fail(where, ": field 'pretokenizers': expected an array");
      for (const nlohmann::json& part : parts) add(part, where);
      return;
    }
    if (complete_) fail(where, ": type ", in_quotes(type), " after ByteLevel is not supported");
    if (type == "Split") {
      add_split(value, where);
    } else if (type == "Digits") {
      push(Digits{json_optional<bool>(value, "individual_digits", where).value_or(false)}, where);
    } else if (type == "ByteLevel") {
      if (json_field<bool>(value, "add_prefix_space", where)) push(PrefixSpace{}, where);
      if (json_optional<bool>(value, "use_regex", where).value_or(true)) {
        push(Split{Regex(gpt2_pattern, Regex::Syntax::Pattern, where), SplitBehavior::Isolated,
                   false},
             where);
      }
      complete_ = true;
    } else {
      fail(where, ": type ", in_quotes(type),
           " is not supported, expected Split, Digits, ByteLevel or Sequence");
    }
  }

  void add_split(const nlohmann::json& value, std::string_view where) {
    const nlohmann::json& pattern = json_at(value, "pattern", where);
    const auto regex = json_optional<std::string>(pattern, "Regex", where);
    const auto literal = json_optional<std::string>(pattern, "String", where);
    if (regex.has_value() == literal.has_value()) {
      fail(where, ": field 'pattern': expected either Regex or String");
    }
    push(Split{Regex(regex ? *regex : *literal,
                     regex ? Regex::Syntax::Pattern : Regex::Syntax::Literal, where),
               behavior(value, where), json_optional<bool>(value, "invert", where).value_or(false)},
         where);
  }

  [[nodiscard]] static SplitBehavior behavior(const nlohmann::json& value, std::string_view where) {
    const auto name = json_field<std::string>(value, "behavior", where);
    if (name == "Isolated") return SplitBehavior::Isolated;
    if (name == "Removed") return SplitBehavior::Removed;
    if (name == "MergedWithPrevious") return SplitBehavior::MergedWithPrevious;
    if (name == "MergedWithNext") return SplitBehavior::MergedWithNext;
    if (name == "Contiguous") return SplitBehavior::Contiguous;
    fail(where, ": field 'behavior': ", in_quotes(name), " is unknown");
  }

  std::vector<Step> steps_;
  bool complete_ = false;
};

}  // namespace nibble::text
