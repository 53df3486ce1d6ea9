// How fast a model takes in a prompt and decodes on this machine.
#pragma once

#include <algorithm>
#include <span>
#include <utility>
#include <vector>

#include <nibble/core/function_ref.hpp>
#include <nibble/model/evaluate.hpp>

#include "common/median.hpp"
#include "common/report.hpp"

namespace nibble::example {

/// Tokens per second, and of how many tokens.
struct Speed {
  double prompt = 0;
  double decode = 0;
  Index prompt_tokens = 0;
  Index decode_tokens = 0;
};

/// The median time of the calls of about a second, after one that warms up: five of them at least,
/// or fewer where they take long.
[[nodiscard]] inline double median_seconds(FunctionRef<void()> body) {
  body();
  std::vector<double> times;
  const Stopwatch total;
  while (times.empty() || total.seconds() < (times.size() < 5 ? 10 : 1)) {
    const Stopwatch one;
    body();
    times.push_back(one.seconds());
  }
  return median(std::move(times));
}

/// A prompt of 512 tokens, or half the context, and 64 tokens one by one after 32 others, or as
/// many as fit. The tokens are the text's.
[[nodiscard]] inline Speed measure_speed(const EvaluatedModel& model, std::span<const TokenId> text,
                                         ExecutorRef pool, const Progress& progress) {
  const Decoder& decoder = *model.decoder;
  const Index context = decoder.config().max_positions;
  const Index prompt = std::max(std::min(Index{512}, context / 2), Index{1});
  const Index before = std::min(Index{32}, context / 3);
  const Index after = std::max(std::min(Index{64}, context - before), Index{1});
  std::vector<TokenId> tokens;
  for (Index i = 0; i < std::max(prompt, before + after); ++i) {
    tokens.push_back(text[static_cast<std::size_t>(i) % text.size()]);
  }
  Workspace workspace(pool, model.activations);
  Session session = decoder.make_session(static_cast<Index>(tokens.size()), model.kv);
  const auto advance = [&](Index first, Index count) {
    const Slice slice{
        &session,
        std::span(tokens).subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)),
        LogitRows::Last};
    (void)decoder.forward({&slice, 1}, workspace);
  };

  report(progress, "prompt speed", 0, 2);
  const double prompt_seconds = median_seconds([&] {
    session.truncate(0);
    advance(0, prompt);
  });
  report(progress, "decode speed", 1, 2);
  session.truncate(0);
  if (before > 0) advance(0, before);
  const double decode_seconds = median_seconds([&] {
    session.truncate(before);
    for (Index i = 0; i < after; ++i) advance(before + i, 1);
  });
  report(progress, "decode speed", 2, 2);
  return {static_cast<double>(prompt) / prompt_seconds, static_cast<double>(after) / decode_seconds,
          prompt, after};
}

}  // namespace nibble::example
