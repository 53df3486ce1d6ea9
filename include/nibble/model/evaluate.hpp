// How good a model is on a text: perplexity, and its distance from a reference model.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include <nibble/core/progress.hpp>
#include <nibble/model/decoder.hpp>
#include <nibble/model/sampler.hpp>

namespace nibble {

/// How a text is cut.
struct EvaluateOptions {
  Index window = 1024;    // tokens that are predicted in one sequence, positions from 0
  Index max_windows = 0;  // use the first so many windows; 0: all
};

/// Means over the predicted positions. Windows of consecutive tokens without overlap each predict
/// the tokens shifted by one; an incomplete last window is dropped.
struct Evaluation {
  double perplexity = 0;            // e^(mean negative log-likelihood)
  double reference_perplexity = 0;  // of the reference; NaN without one
  double kl_divergence = 0;         // of KL(reference || model), nats; NaN without a reference
  double top1_agreement = 0;  // share of positions with the same most likely token; NaN likewise
  Index tokens = 0;           // predicted
  Index windows = 0;
};

/// A model to evaluate: a decoder and how it runs.
struct EvaluatedModel {
  const Decoder* decoder = nullptr;
  ActivationMode activations = ActivationMode::Native;
  KvType kv = KvType::Float16;
};

namespace evaluate_detail {

/// log(sum(e^logits)) of a row, in double.
[[nodiscard]] inline double log_sum_exp(std::span<const float> logits) noexcept {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

/// How a row of logits relates to the reference's.
struct Distance {
  double kl_divergence = 0;
  double reference_total = 0;  // log_sum_exp(reference)
};

/// KL(reference || model) of two rows of logits, `model_total` being log_sum_exp(model):
/// sum p (r - m) - log_sum_exp(r) + log_sum_exp(m), with p = softmax(r).
[[nodiscard]] inline Distance distance(std::span<const float> reference,
                                       std::span<const float> model, double model_total) noexcept {
  const double largest = *std::max_element(reference.begin(), reference.end());
  double sum = 0;
  double weighted = 0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double weight = std::exp(reference[i] - largest);
    sum += weight;
    if (weight > 0) weighted += weight * (static_cast<double>(reference[i]) - model[i]);
  }
  const double total = largest + std::log(sum);
  return {weighted / sum - total + model_total, total};
}

/// One model going through windows.
class Runner {
 public:
  Runner(const EvaluatedModel& model, Index window, ExecutorRef pool)
      : decoder_(*model.decoder),
        workspace_(pool, model.activations),
        session_(decoder_.make_session(window, model.kv)) {}

  void restart() noexcept { session_.truncate(0); }

  /// Logits of all tokens; valid until the next call.
  [[nodiscard]] Eigen::Map<const Matrix> advance(std::span<const TokenId> tokens) {
    const Slice slice{&session_, tokens, LogitRows::All};
    return decoder_.forward({&slice, 1}, workspace_);
  }

 private:
  const Decoder& decoder_;
  Workspace workspace_;
  Session session_;
};

}  // namespace evaluate_detail

/// Evaluates a model on a text's tokens, against a reference where one is given. Throws Error
/// where the text is shorter than a window, a window does not fit a model's context, or the two
/// models' vocabularies differ, a logit is NaN, or the divergence is infinite; Cancelled as
/// `progress`, counted in windows, says.
[[nodiscard]] inline Evaluation evaluate(const EvaluatedModel& model,
                                         const EvaluatedModel* reference,
                                         std::span<const TokenId> tokens,
                                         const EvaluateOptions& options, ExecutorRef pool,
                                         const Progress& progress = {}) {
  using evaluate_detail::Runner;
  if (options.window < 1) fail("window: expected 1 or more, found ", options.window);
  for (const EvaluatedModel* side : {&model, reference}) {
    if (side == nullptr) continue;
    const ModelConfig& config = side->decoder->config();
    if (options.window > config.max_positions) {
      fail("a window of ", options.window, " tokens is longer than the model's context of ",
           config.max_positions);
    }
    if (config.vocab_size != model.decoder->config().vocab_size) {
      fail("the reference has a vocabulary of ", config.vocab_size, ", the model one of ",
           model.decoder->config().vocab_size);
    }
  }
  const auto count = static_cast<Index>(tokens.size());
  Index windows = (count - 1) / options.window;
  if (count < 2 || windows < 1) {
    fail("a text of ", count, " tokens is too short for a window of ", options.window,
         ", which needs one more");
  }
  for (const TokenId id : tokens) {
    if (id < 0 || id >= model.decoder->config().vocab_size) {
      fail("token id ", id, " is outside the vocabulary of ", model.decoder->config().vocab_size);
    }
  }
  if (options.max_windows > 0) windows = std::min(windows, options.max_windows);

  constexpr Index chunk = 256;  // tokens whose logits are held at a time
  Runner runner(model, options.window, pool);
  std::optional<Runner> reference_runner;
  if (reference != nullptr) reference_runner.emplace(*reference, options.window, pool);
  struct Position {
    double log_likelihood = 0;
    double reference_log_likelihood = 0;
    double divergence = 0;
    bool agrees = false;
  };
  std::vector<Position> positions(static_cast<std::size_t>(chunk));
  double log_likelihood = 0;
  double reference_log_likelihood = 0;
  double divergence = 0;
  Index agreements = 0;

  for (Index window = 0; window < windows; ++window) {
    report(progress, "evaluating", window, windows);
    runner.restart();
    if (reference_runner) reference_runner->restart();
    for (Index first = 0; first < options.window; first += chunk) {
      const Index size = std::min(chunk, options.window - first);
      const auto start = static_cast<std::size_t>(window * options.window + first);
      const auto inputs = tokens.subspan(start, static_cast<std::size_t>(size));
      const Eigen::Map<const Matrix> logits = runner.advance(inputs);
      const float* reference_logits =
          reference_runner ? reference_runner->advance(inputs).data() : nullptr;
      const auto vocabulary = static_cast<std::size_t>(logits.cols());
      pool.run(size, [&](Index i, int) {
        const auto row = static_cast<std::size_t>(i);
        const std::span<const float> own(logits.data() + row * vocabulary, vocabulary);
        const auto target = static_cast<std::size_t>(tokens[start + row + 1]);
        Position& position = positions[row];
        const double total = evaluate_detail::log_sum_exp(own);
        position.log_likelihood = own[target] - total;
        if (std::isnan(position.log_likelihood)) fail("the model's logits are not numbers");
        if (reference_logits == nullptr) return;
        const std::span<const float> other(reference_logits + row * vocabulary, vocabulary);
        const evaluate_detail::Distance found = evaluate_detail::distance(other, own, total);
        position.reference_log_likelihood = other[target] - found.reference_total;
        position.divergence = found.kl_divergence;
        if (!std::isfinite(position.divergence)) {
          fail("the KL divergence from the reference is ", position.divergence);
        }
        position.agrees = most_likely(other) == most_likely(own);
      });
      for (Index i = 0; i < size; ++i) {
        const Position& position = positions[static_cast<std::size_t>(i)];
        log_likelihood += position.log_likelihood;
        reference_log_likelihood += position.reference_log_likelihood;
        divergence += position.divergence;
        agreements += position.agrees ? 1 : 0;
      }
    }
  }
  report(progress, "evaluating", windows, windows);

  const auto predicted = static_cast<double>(windows * options.window);
  const double none = std::numeric_limits<double>::quiet_NaN();
  return {std::exp(-log_likelihood / predicted),
          reference == nullptr ? none : std::exp(-reference_log_likelihood / predicted),
          reference == nullptr ? none : divergence / predicted,
          reference == nullptr ? none : static_cast<double>(agreements) / predicted,
          windows * options.window,
          windows};
}

}  // namespace nibble
