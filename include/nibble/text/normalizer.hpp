// The normalizers of tokenizer.json: the four Unicode normalization forms, alone or in sequence.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <utf8proc.h>

#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/json.hpp>
#include <nibble/text/utf8.hpp>

namespace nibble::text {

/// Unicode Standard Annex 15.
enum class NormalizationForm { Nfc, Nfd, Nfkc, Nfkd };

namespace detail {

/// Puts each run of combining marks into the order of their classes; a stable sort, so that a
/// hostile run takes n log n and not the square.
inline void order_marks(std::vector<utf8proc_int32_t>& codes) {
  const auto mark_class = [](utf8proc_int32_t code) {
    return utf8proc_get_property(code)->combining_class;
  };
  for (auto at = codes.begin(); at != codes.end();) {
    at = std::find_if(at, codes.end(), [&](auto code) { return mark_class(code) != 0; });
    const auto end =
        std::find_if(at, codes.end(), [&](auto code) { return mark_class(code) == 0; });
    std::stable_sort(at, end, [&](auto a, auto b) { return mark_class(a) < mark_class(b); });
    at = end;
  }
}

}  // namespace detail

/// `text` (valid UTF-8) in a normalization form.
[[nodiscard]] inline std::string normalize(std::string_view text, NormalizationForm form) {
  const bool ascii = std::all_of(text.begin(), text.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (ascii) return std::string(text);
  const bool compatibility = form == NormalizationForm::Nfkc || form == NormalizationForm::Nfkd;
  const bool compose = form == NormalizationForm::Nfc || form == NormalizationForm::Nfkc;
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE |
                                                      (compatibility ? UTF8PROC_COMPAT : 0));
  std::vector<utf8proc_int32_t> codes;
  codes.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text.substr(at));
    at += step.length;
    std::array<utf8proc_int32_t, 32> parts;  // the longest decomposition has 18
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(step.code_point),
                                               parts.data(), parts.size(), options, nullptr);
    if (count < 0 || count > static_cast<utf8proc_ssize_t>(parts.size())) {
      fail("normalization of U+", std::hex, static_cast<unsigned long>(step.code_point),
           " failed: ", utf8proc_errmsg(count));
    }
    codes.insert(codes.end(), parts.begin(), parts.begin() + count);
  }
  detail::order_marks(codes);
  if (compose) {
    const auto length = utf8proc_normalize_utf32(
        codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    if (length < 0) fail("normalization failed: ", utf8proc_errmsg(length));
    codes.resize(static_cast<std::size_t>(length));
  }
  std::string out;
  out.reserve(text.size());
  for (const auto code : codes) append_utf8(out, static_cast<char32_t>(code));
  return out;
}

/// What is done to text before it is split.
class Normalizer {
 public:
  /// Most forms that a sequence may hold.
  static constexpr std::size_t max_forms = 16;

  /// No change.
  Normalizer() = default;

  /// The field `normalizer` (nullptr where it is null): NFC, NFD, NFKC, NFKD or a Sequence of
  /// these. Throws `Error`, starting with `where`, for any other type.
  [[nodiscard]] static Normalizer parse(const nlohmann::json* value, std::string_view where) {
    Normalizer normalizer;
    if (value != nullptr) normalizer.add(*value, where);
    return normalizer;
  }

  /// `text` (valid UTF-8), normalized; `storage` holds the result where it needs a place.
  [[nodiscard]] std::string_view apply(std::string_view text, std::string& storage) const {
    for (const NormalizationForm form : forms_) {
      storage = normalize(text, form);
      text = storage;
    }
    return text;
  }

 private:
  void add(const nlohmann::json& value, std::string_view where) {
    const auto type = json_field<std::string>(value, "type", where);
    if (type == "Sequence") {
      const nlohmann::json& parts = json_at(value, "normalizers", where);
      if (!parts.is_array()) fail(where, ": field 'normalizers': expected an array");
      for (const nlohmann::json& part : parts) add(part, where);
      return;
    }
    if (forms_.size() == max_forms) fail(where, ": more than ", max_forms, " normalizers");
    if (type == "NFC") {
      forms_.push_back(NormalizationForm::Nfc);
    } else if (type == "NFD") {
      forms_.push_back(NormalizationForm::Nfd);
    } else if (type == "NFKC") {
      forms_.push_back(NormalizationForm::Nfkc);
    } else if (type == "NFKD") {
      forms_.push_back(NormalizationForm::Nfkd);
    } else {
      fail(where, ": type ", in_quotes(type),
           " is not supported, expected NFC, NFD, NFKC, NFKD or Sequence");
    }
  }

  std::vector<NormalizationForm> forms_;
};

}  // namespace nibble::text
