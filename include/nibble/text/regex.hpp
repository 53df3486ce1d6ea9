// Regex: a compiled regular expression (PCRE2, just-in-time where available) with bounded work.
#pragma once

#ifndef PCRE2_CODE_UNIT_WIDTH
#define PCRE2_CODE_UNIT_WIDTH 8
#endif
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>

#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/text/regex_dialect.hpp>
#include <nibble/text/utf8.hpp>

namespace nibble::text {

/// What one thread needs to match: buffers, and the work that is left for a text. Counted are the
/// bytes and the backtracking steps that attempts take beyond their first 256 bytes and 2048 steps;
/// 64 a byte of text, and 32 Mi to begin with, are many times what the patterns of published
/// tokenizers take.
class RegexScratch {
 public:
  /// For a text of `text_bytes`. Throws `std::bad_alloc`.
  explicit RegexScratch(std::size_t text_bytes)
      : budget_((std::uint64_t{1} << 25) + 64 * static_cast<std::uint64_t>(text_bytes)),
        data_(pcre2_match_data_create_8(1, nullptr)),
        context_(pcre2_match_context_create_8(nullptr)) {
    if (!data_ || !context_) throw std::bad_alloc();
    pcre2_set_heap_limit_8(context_.get(), 64 << 10);  // KiB; for the interpreter alone
  }

 private:
  friend class Regex;
  struct Free {
    void operator()(pcre2_match_data_8* data) const noexcept { pcre2_match_data_free_8(data); }
    void operator()(pcre2_match_context_8* context) const noexcept {
      pcre2_match_context_free_8(context);
    }
  };

  std::uint64_t budget_;
  std::unique_ptr<pcre2_match_data_8, Free> data_;
  std::unique_ptr<pcre2_match_context_8, Free> context_;
};

/// An immutable pattern, shared by threads.
class Regex {
 public:
  /// Longest pattern in bytes.
  static constexpr std::size_t max_pattern = 1 << 16;

  enum class Syntax {
    Pattern,  ///< as `translate_regex` describes
    Literal   ///< the text itself
  };

  /// `pattern` is valid UTF-8. Throws `Error`, starting with `where`, for one that is too long,
  /// malformed, or uses what is not supported.
  Regex(std::string_view pattern, Syntax syntax, std::string_view where)
      : where_(where), pattern_(pattern) {
    if (pattern.size() > max_pattern) {
      fail(where, ": a regular expression of ", pattern.size(), " bytes, expected at most ",
           max_pattern);
    }
    // Anchored: the search for a start is our own, so that its work can be counted.
    std::uint32_t options = PCRE2_UTF | PCRE2_NO_UTF_CHECK | PCRE2_ANCHORED;
    std::string translated(pattern);
    if (syntax == Syntax::Literal) {
      options |= PCRE2_LITERAL;
    } else {
      translated = translate_regex(pattern, where, PCRE2_MAJOR > 10 || PCRE2_MINOR >= 40);
      options |= PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NO_AUTO_CAPTURE | PCRE2_NEVER_BACKSLASH_C;
      options |= PCRE2_NO_AUTO_POSSESS;  // in 10.42 it loses matches of \P{L}?\P{M}
    }
    compile(translated, options);
  }

  /// Calls `found(begin, end)` for each match in `subject` (valid UTF-8), leftmost first and
  /// without overlap; an empty match directly after another one is left out. Throws `Error`,
  /// naming the pattern, where matching takes more work than `scratch` has left.
  template <std::invocable<std::size_t, std::size_t> Found>
  void for_each_match(std::string_view subject, RegexScratch& scratch, Found&& found) const {
    std::size_t at = 0;
    std::optional<std::size_t> last_end;
    while (at <= subject.size()) {
      const auto end = match_at(subject, at, scratch);
      if (end && !(*end == at && last_end == at)) {
        found(at, *end);
        at = *end;
        last_end = at;
      } else if (at < subject.size()) {
        at += utf8_step(subject.substr(at)).length;
      } else {
        break;
      }
    }
  }

 private:
  struct FreeCode {
    void operator()(pcre2_code_8* code) const noexcept { pcre2_code_free_8(code); }
  };
  struct FreeCompileContext {
    void operator()(pcre2_compile_context_8* context) const noexcept {
      pcre2_compile_context_free_8(context);
    }
  };

  [[nodiscard]] static PCRE2_SPTR8 units(std::string_view text) noexcept {
    return reinterpret_cast<PCRE2_SPTR8>(text.data());
  }

  [[nodiscard]] static std::string message(int code) {
    std::array<PCRE2_UCHAR8, 256> text{};
    pcre2_get_error_message_8(code, text.data(), text.size());
    return reinterpret_cast<const char*>(text.data());
  }

  void compile(const std::string& translated, std::uint32_t options) {
    const std::unique_ptr<pcre2_compile_context_8, FreeCompileContext> context(
        pcre2_compile_context_create_8(nullptr));
    if (!context) throw std::bad_alloc();
    pcre2_set_newline_8(context.get(), PCRE2_NEWLINE_LF);
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(pcre2_compile_8(units(translated), translated.size(), options, &error, &offset,
                                context.get()));
    if (!code_) {
      fail(where_, ": the regular expression ", in_quotes(pattern_),
           " is invalid: ", message(error));
    }
    // Without executable memory the interpreter does the same.
    pcre2_jit_compile_8(code_.get(), PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);
  }

  /// Where the match that starts at `at` ends. The engine sees a window of the subject, which grows
  /// when it asks for more, and a limit of steps in proportion: so no attempt costs more than it is
  /// charged for.
  [[nodiscard]] std::optional<std::size_t> match_at(std::string_view subject, std::size_t at,
                                                    RegexScratch& scratch) const {
    constexpr std::uint64_t steps_per_byte = 8;
    std::uint32_t fallback = 0;
    for (std::uint64_t window = 256;;) {
      std::size_t end = subject.size();
      if (end - at > window) {
        end = at + static_cast<std::size_t>(window);
        while ((static_cast<unsigned char>(subject[end]) & 0xc0) == 0x80) --end;
      }
      const std::uint32_t partial = end < subject.size() ? PCRE2_PARTIAL_HARD : 0;
      const auto limit =
          static_cast<std::uint32_t>(std::min(window * steps_per_byte, std::uint64_t{1} << 31));
      pcre2_set_match_limit_8(scratch.context_.get(), limit);
      const int code = pcre2_match_8(code_.get(), units(subject), end, at,
                                     PCRE2_NO_UTF_CHECK | partial | fallback, scratch.data_.get(),
                                     scratch.context_.get());
      if (code >= 0) return pcre2_get_ovector_pointer_8(scratch.data_.get())[1];
      if (code == PCRE2_ERROR_NOMATCH) return std::nullopt;
      if (code == PCRE2_ERROR_JIT_STACKLIMIT && fallback == 0) {
        fallback = PCRE2_NO_JIT;  // the interpreter keeps its stack on the heap
        continue;
      }
      if (code != PCRE2_ERROR_PARTIAL && code != PCRE2_ERROR_MATCHLIMIT) {
        fail(where_, ": the regular expression ", in_quotes(pattern_), " failed: ", message(code));
      }
      const std::uint64_t charge = code == PCRE2_ERROR_PARTIAL ? window : limit;
      if (charge > scratch.budget_) {
        fail(where_, ": the regular expression ", in_quotes(pattern_),
             " takes too much work on this text, at byte ", at, " of a piece of ", subject.size());
      }
      scratch.budget_ -= charge;
      window *= 2;
    }
  }

  std::string where_;
  std::string pattern_;
  std::unique_ptr<pcre2_code_8, FreeCode> code_;
};

}  // namespace nibble::text
