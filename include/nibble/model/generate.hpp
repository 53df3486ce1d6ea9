// Text generation: prompt in, tokens out one by one, until something ends it.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nibble/core/progress.hpp>
#include <nibble/model/decoder.hpp>
#include <nibble/model/sampler.hpp>
#include <nibble/text/stream_decoder.hpp>

namespace nibble {

/// What ends a generation.
enum class StopReason {
  Length,      // as many tokens as were asked for
  StopId,      // a stop id; it is not among the tokens
  StopString,  // the text reached a stop string, which is cut off
  Context,     // the model's context is full
  Cancelled,   // the callback said so
};

[[nodiscard]] constexpr std::string_view stop_reason_name(StopReason reason) noexcept {
  constexpr std::string_view names[] = {"length", "stop_id", "stop_string", "context", "cancelled"};
  return names[static_cast<std::size_t>(reason)];
}

/// What to generate.
struct GenerateOptions {
  Index max_tokens = 128;
  SamplingOptions sampling = {};
  std::vector<TokenId> stop_ids = {};
  std::vector<std::string> stop_strings = {};
  Index prompt_chunk = 512;  // tokens of the prompt that are taken in at a time
};

/// Called after each token with the text that it completed (maybe none, never a part of a
/// character or of a stop string), and once more at the end with the last token where text was
/// held back. Returning false ends the generation.
using OnToken = std::function<bool(TokenId id, std::string_view text)>;

/// What was generated.
struct Generation {
  std::vector<TokenId> ids;  // without the prompt
  std::string text;          // of ids, without special tokens and stop string
  StopReason stop = StopReason::Length;
  double prompt_seconds = 0;    // until the prompt was taken in
  double generate_seconds = 0;  // from there on
};

/// Finds stop strings in a growing text, and tells which of it is safe to hand out.
class StopStrings {
 public:
  /// Borrows `stops`; empty ones are left out.
  explicit StopStrings(const std::vector<std::string>& stops) : stops_(&stops) {}

  /// Takes in more text and returns what can no longer be part of a stop string; valid until the
  /// next call. After `found()` it returns nothing.
  std::string_view add(std::string_view text) {
    pending_.erase(0, released_);
    released_ = 0;
    if (found_) return {};
    pending_ += text;
    std::size_t held = 0;
    std::size_t cut = std::string::npos;
    for (const std::string& stop : *stops_) {
      if (stop.empty()) continue;
      cut = std::min(cut, pending_.find(stop));
      for (std::size_t length = std::min(stop.size() - 1, pending_.size()); length > held;
           --length) {
        if (pending_.ends_with(std::string_view(stop).substr(0, length))) held = length;
      }
    }
    found_ = cut != std::string::npos;
    released_ = found_ ? cut : pending_.size() - held;
    if (found_) pending_.resize(cut);
    return std::string_view(pending_).substr(0, released_);
  }

  /// What was held back, at the end.
  std::string_view flush() {
    pending_.erase(0, released_);
    released_ = pending_.size();
    return pending_;
  }

  [[nodiscard]] bool found() const noexcept { return found_; }

 private:
  const std::vector<std::string>* stops_;
  std::string pending_;  // of which the first released_ bytes were handed out
  std::size_t released_ = 0;
  bool found_ = false;
};

/// Continues a session with a prompt, token ids with a BOS where the model wants one, and then
/// with tokens of the model's. They are in the session afterwards, except for the last of `ids`
/// where anything but a stop id ended the text.
///
/// Throws Error for an empty prompt, one longer than the context's rest, ids outside the
/// vocabulary, bad options, and a KV budget that is used up; Cancelled where `progress`, which
/// follows the prompt, says so; and what the callback throws. The session is then as it was.
inline Generation generate(const Decoder& decoder, const Tokenizer& tokenizer,
                           std::span<const TokenId> prompt, Session& session, Workspace& workspace,
                           const GenerateOptions& options, const OnToken& on_token = {},
                           const Progress& progress = {}) {
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  Sampler sampler(options.sampling);
  if (prompt.empty()) fail("the prompt is empty");
  if (options.max_tokens < 0) fail("max_tokens: expected 0 or more, found ", options.max_tokens);
  if (options.prompt_chunk < 1) {
    fail("prompt_chunk: expected 1 or more, found ", options.prompt_chunk);
  }
  const Index context = decoder.config().max_positions;
  const auto prompt_tokens = static_cast<Index>(prompt.size());
  if (session.position() + prompt_tokens > context) {
    fail("a prompt of ", prompt_tokens, " tokens at position ", session.position(),
         " is longer than the model's context of ", context);
  }

  struct Restore {
    Session* session;
    Index position;
    ~Restore() {
      if (session != nullptr) session->truncate(position);
    }
  } restore{&session, session.position()};

  Generation result;
  const Clock::time_point start = Clock::now();
  std::span<const float> logits;
  const auto advance = [&](std::span<const TokenId> tokens, LogitRows rows) {
    const Slice slice{&session, tokens, rows};
    const auto matrix = decoder.forward({&slice, 1}, workspace);
    // Ids beyond the tokenizer's, of a vocabulary padded to a round number, are never drawn.
    logits = {matrix.data(),
              static_cast<std::size_t>(std::min(matrix.size(), tokenizer.vocab_size()))};
  };
  for (Index first = 0; first < prompt_tokens; first += options.prompt_chunk) {
    const Index count = std::min(options.prompt_chunk, prompt_tokens - first);
    const bool last = first + count == prompt_tokens;
    advance(prompt.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)),
            last ? LogitRows::Last : LogitRows::None);
    report(progress, "prompt", first + count, prompt_tokens);
  }
  result.prompt_seconds = seconds_since(start);

  const Clock::time_point prompt_end = Clock::now();
  std::vector<TokenId> tokens(prompt.begin(), prompt.end());
  StreamDecoder stream(tokenizer);
  StopStrings stops(options.stop_strings);
  const auto hand_out = [&](TokenId id, std::string_view text) {
    result.text += text;
    if (on_token && !on_token(id, text)) result.stop = StopReason::Cancelled;
    return result.stop != StopReason::Cancelled;
  };
  for (Index i = 0; i < options.max_tokens; ++i) {
    const TokenId id = sampler.sample(logits, tokens);
    if (std::ranges::find(options.stop_ids, id) != options.stop_ids.end()) {
      result.stop = StopReason::StopId;
      break;
    }
    tokens.push_back(id);
    result.ids.push_back(id);
    if (!hand_out(id, stops.add(stream.next(id)))) break;
    if (stops.found()) {
      result.stop = StopReason::StopString;
      break;
    }
    if (i + 1 == options.max_tokens) break;
    if (session.position() == context) {
      result.stop = StopReason::Context;
      break;
    }
    advance({&id, 1}, LogitRows::Last);
  }
  if (!result.ids.empty() && result.stop != StopReason::StopString &&
      result.stop != StopReason::Cancelled) {
    // What was held back: the start of a stop string or of a character that never came. The text
    // has ended, so the callback's answer no longer matters.
    std::string rest(stops.add(stream.flush()));
    if (stops.found()) result.stop = StopReason::StopString;
    rest += stops.flush();
    result.text += rest;
    if (on_token && !rest.empty()) on_token(result.ids.back(), rest);
  }
  result.generate_seconds = seconds_since(prompt_end);
  restore.session = nullptr;
  return result;
}

}  // namespace nibble
