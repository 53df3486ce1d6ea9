// The post-processors of tokenizer.json: which special tokens go before and after a text.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/token_id.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/json.hpp>
#include <nibble/text/vocabulary.hpp>

namespace nibble::text {

/// The tokens around a single text.
struct PostProcessor {
  std::vector<TokenId> before;
  std::vector<TokenId> after;

  /// The field `post_processor` (nullptr where it is null): ByteLevel (which moves offsets alone),
  /// TemplateProcessing (its template for a single text), or a Sequence of these, the later around
  /// the earlier. Throws `Error`, starting with `where`, for any other type, and for ids outside
  /// [0, id_limit).
  [[nodiscard]] static PostProcessor parse(const nlohmann::json* value, std::size_t id_limit,
                                           std::string_view where) {
    PostProcessor result;
    if (value != nullptr) result.add(*value, id_limit, where);
    return result;
  }

 private:
  void add(const nlohmann::json& value, std::size_t id_limit, std::string_view where) {
    const auto type = json_field<std::string>(value, "type", where);
    if (type == "Sequence") {
      const nlohmann::json& parts = json_at(value, "processors", where);
      if (!parts.is_array()) fail(where, ": field 'processors': expected an array");
      for (const nlohmann::json& part : parts) add(part, id_limit, where);
    } else if (type == "TemplateProcessing") {
      add_template(value, id_limit, where);
    } else if (type != "ByteLevel") {
      fail(where, ": type ", in_quotes(type),
           " is not supported, expected TemplateProcessing, ByteLevel or Sequence");
    }
  }

  /// `single` is a list of {"SpecialToken": {"id": name}} and one {"Sequence": {"id": "A"}};
  /// `special_tokens` maps each name to {"ids": [...]}.
  void add_template(const nlohmann::json& value, std::size_t id_limit, std::string_view where) {
    const nlohmann::json& single = json_at(value, "single", where);
    if (!single.is_array()) fail(where, ": field 'single': expected an array");
    std::vector<TokenId> first, last;
    bool seen_text = false;
    for (const nlohmann::json& piece : single) {
      if (const nlohmann::json* sequence = json_find(piece, "Sequence", where)) {
        if (seen_text || json_field<std::string>(*sequence, "id", where) != "A") {
          fail(where, ": field 'single': expected sequence A once, and no other");
        }
        seen_text = true;
        continue;
      }
      const auto name = json_field<std::string>(json_at(piece, "SpecialToken", where), "id", where);
      const std::string place = concat(where, ": special token ", in_quotes(name));
      const nlohmann::json& token = json_at(json_at(value, "special_tokens", where), name, place);
      const nlohmann::json& ids = json_at(token, "ids", place);
      if (!ids.is_array()) fail(place, ": field 'ids': expected an array");
      for (const nlohmann::json& id : ids) {
        (seen_text ? last : first)
            .push_back(Vocabulary::token_id(id, Vocabulary::limit(id_limit), place));
      }
    }
    if (!seen_text) fail(where, ": field 'single': expected sequence A, found none");
    before.insert(before.begin(), first.begin(), first.end());
    after.insert(after.end(), last.begin(), last.end());
  }
};

}  // namespace nibble::text
