// Chooses the next token from its logits.
#pragma once

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/random.hpp>
#include <nibble/core/token_id.hpp>

namespace nibble {

/// How to choose. The defaults are greedy.
struct SamplingOptions {
  float temperature = 0;         // 0: the most likely token, whatever the fields below
  std::int64_t top_k = 0;        // keep the k most likely tokens; 0: all
  float top_p = 1;               // keep the most likely tokens that together reach this share
  float min_p = 0;               // keep tokens at least this share as likely as the most likely
  float repetition_penalty = 1;  // divides positive logits of tokens seen, multiplies negative ones
  std::uint64_t seed = 0;
};

/// The id of the largest logit, the lowest of equal ones. Throws Error where one is NaN.
[[nodiscard]] inline TokenId most_likely(std::span<const float> logits) {
  assert(!logits.empty());
  std::size_t best = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) fail("the logit of token ", i, " is not a number");
    if (logits[i] > logits[best]) best = i;
  }
  return static_cast<TokenId>(best);
}

/// Draws tokens; the same seed and logits give the same tokens on every machine whose exponential
/// function is the same. Filters act in the order penalty, temperature, top-k, top-p, min-p.
/// Sources: Keskar et al., "CTRL" (2019) for the penalty; Holtzman et al., "The Curious Case of
/// Neural Text Degeneration" (2020) for top-p; Nguyen et al., "Min-p Sampling" (2024).
class Sampler {
 public:
  /// Throws Error, naming the option, for values out of range.
  explicit Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) {
    const auto require = [](bool valid, const char* name, const char* expected, auto found) {
      if (!valid) fail(name, ": expected ", expected, ", found ", found);
    };
    require(options.temperature >= 0 && std::isfinite(options.temperature), "temperature",
            "a number from 0", options.temperature);
    require(options.top_k >= 0, "top-k", "0 or more", options.top_k);
    require(options.top_p > 0 && options.top_p <= 1, "top-p", "more than 0 and at most 1",
            options.top_p);
    require(options.min_p >= 0 && options.min_p <= 1, "min-p", "0 to 1", options.min_p);
    require(options.repetition_penalty > 0 && std::isfinite(options.repetition_penalty),
            "repetition-penalty", "more than 0", options.repetition_penalty);
  }

  /// The next token after `context` (prompt and generated tokens), given its logits. Throws Error
  /// where a logit is NaN or the largest, after the penalty, is infinite.
  [[nodiscard]] TokenId sample(std::span<const float> logits, std::span<const TokenId> context) {
    penalized_.assign(logits.begin(), logits.end());
    penalize(context);
    const TokenId best = most_likely(penalized_);
    const float largest = penalized_[static_cast<std::size_t>(best)];
    if (!std::isfinite(largest)) fail("the largest logit is ", largest);
    if (options_.temperature == 0) return best;
    weigh(largest);
    keep_top_k();
    keep_top_p();
    keep_min_p();
    return draw();
  }

 private:
  struct Candidate {
    TokenId id;
    double weight;  // its probability times some constant
  };
  static bool less_likely(const Candidate& a, const Candidate& b) noexcept {
    return a.weight != b.weight ? a.weight < b.weight : a.id > b.id;
  }

  void penalize(std::span<const TokenId> context) {
    if (options_.repetition_penalty == 1) return;
    seen_.assign(penalized_.size(), false);
    for (const TokenId id : context) {
      const auto i = static_cast<std::size_t>(id);
      if (i >= penalized_.size() || seen_[i]) continue;
      seen_[i] = true;
      float& logit = penalized_[i];
      logit = logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
    }
  }

  void weigh(float largest) {
    candidates_.clear();
    for (std::size_t i = 0; i < penalized_.size(); ++i) {
      const double distance = static_cast<double>(penalized_[i]) - largest;
      const double weight = std::exp(distance / static_cast<double>(options_.temperature));
      if (weight > 0) candidates_.push_back({static_cast<TokenId>(i), weight});
    }
  }

  void keep_top_k() {
    const auto k = static_cast<std::size_t>(options_.top_k);
    if (k == 0 || k >= candidates_.size()) return;
    std::nth_element(candidates_.begin(), candidates_.begin() + options_.top_k - 1,
                     candidates_.end(),
                     [](const Candidate& a, const Candidate& b) { return less_likely(b, a); });
    candidates_.resize(k);
  }

  void keep_top_p() {
    if (options_.top_p >= 1) return;
    double total = 0;
    for (const Candidate& candidate : candidates_) total += candidate.weight;
    // Takes the most likely from a heap until they reach the share, mostly a few of very many.
    std::make_heap(candidates_.begin(), candidates_.end(), less_likely);
    auto heap_end = candidates_.end();
    double kept = 0;
    while (heap_end != candidates_.begin() && kept < total * static_cast<double>(options_.top_p)) {
      std::pop_heap(candidates_.begin(), heap_end, less_likely);
      --heap_end;
      kept += heap_end->weight;
    }
    candidates_.erase(candidates_.begin(), heap_end);
  }

  void keep_min_p() {
    if (options_.min_p == 0) return;
    double largest = 0;
    for (const Candidate& candidate : candidates_) largest = std::max(largest, candidate.weight);
    std::erase_if(candidates_, [&](const Candidate& candidate) {
      return candidate.weight < largest * static_cast<double>(options_.min_p);
    });
  }

  TokenId draw() {
    std::sort(candidates_.begin(), candidates_.end(),
              [](const Candidate& a, const Candidate& b) { return a.id < b.id; });
    double total = 0;
    for (const Candidate& candidate : candidates_) total += candidate.weight;
    double rest = random_.uniform() * total;
    for (const Candidate& candidate : candidates_) {
      rest -= candidate.weight;
      if (rest < 0) return candidate.id;
    }
    return candidates_.back().id;
  }

  SamplingOptions options_;
  Random random_;
  std::vector<float> penalized_;
  std::vector<bool> seen_;
  std::vector<Candidate> candidates_;
};

}  // namespace nibble
