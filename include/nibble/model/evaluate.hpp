// How good a model is on a text: perplexity, and its distance from a reference model.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
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

/// What positions say of a model: one, or the sum of several.
struct Score {
  double log_likelihood = 0;
  double reference_log_likelihood = 0;
  double divergence = 0;
  Index agreements = 0;

  Score& operator+=(const Score& other) noexcept {
    log_likelihood += other.log_likelihood;
    reference_log_likelihood += other.reference_log_likelihood;
    divergence += other.divergence;
    agreements += other.agreements;
    return *this;
  }
};

/// Of one position: its row of logits against the token that follows, and against the reference's
/// row, empty where there is none.
[[nodiscard]] inline Score score(std::span<const float> logits, TokenId next,
                                 std::span<const float> reference) {
  const double total = log_sum_exp(logits);
  Score found{.log_likelihood = logits[static_cast<std::size_t>(next)] - total};
  if (std::isnan(found.log_likelihood)) fail("the model's logits are not numbers");
  if (reference.empty()) return found;
  const Distance from_reference = distance(reference, logits, total);
  found.reference_log_likelihood =
      reference[static_cast<std::size_t>(next)] - from_reference.reference_total;
  found.divergence = from_reference.kl_divergence;
  if (!std::isfinite(found.divergence)) {
    fail("the KL divergence from the reference is ", found.divergence);
  }
  found.agreements = most_likely(reference) == most_likely(logits) ? 1 : 0;
  return found;
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

/// How many windows there are to evaluate. Throws as `evaluate_models`.
[[nodiscard]] inline Index count_windows(std::span<const EvaluatedModel> models,
                                         const EvaluatedModel* reference,
                                         std::span<const TokenId> tokens,
                                         const EvaluateOptions& options) {
  if (models.empty()) fail("there is no model to evaluate");
  if (options.window < 1) fail("window: expected 1 or more, found ", options.window);
  const Index vocabulary = models.front().decoder->config().vocab_size;
  const auto check = [&](const EvaluatedModel& model, std::string_view what) {
    const ModelConfig& config = model.decoder->config();
    if (options.window > config.max_positions) {
      fail("a window of ", options.window, " tokens is longer than the model's context of ",
           config.max_positions);
    }
    if (config.vocab_size != vocabulary) {
      fail(what, " has a vocabulary of ", config.vocab_size, ", the model one of ", vocabulary);
    }
  };
  for (const EvaluatedModel& model : models) check(model, "another model");
  if (reference != nullptr) check(*reference, "the reference");
  const auto count = static_cast<Index>(tokens.size());
  const Index windows = (count - 1) / options.window;
  if (count < 2 || windows < 1) {
    fail("a text of ", count, " tokens is too short for a window of ", options.window,
         ", which needs one more");
  }
  for (const TokenId id : tokens) {
    if (id < 0 || id >= vocabulary) {
      fail("token id ", id, " is outside the vocabulary of ", vocabulary);
    }
  }
  return options.max_windows > 0 ? std::min(windows, options.max_windows) : windows;
}

}  // namespace evaluate_detail

/// Evaluates models on a text's tokens, all in one pass, against a reference where one is given,
/// whose logits are worked out once. Each result has the bits of `evaluate` of its model. Throws
/// Error where there is no model, the text is shorter than a window, a window does not fit a
/// model's context, or the models' vocabularies differ, a logit is NaN, or a divergence is
/// infinite; Cancelled as `progress`, counted in windows, says.
[[nodiscard]] inline std::vector<Evaluation> evaluate_models(std::span<const EvaluatedModel> models,
                                                             const EvaluatedModel* reference,
                                                             std::span<const TokenId> tokens,
                                                             const EvaluateOptions& options,
                                                             ExecutorRef pool,
                                                             const Progress& progress = {}) {
  using evaluate_detail::Runner, evaluate_detail::Score;
  const Index windows = evaluate_detail::count_windows(models, reference, tokens, options);
  constexpr Index chunk = 256;  // tokens whose logits are held at a time
  std::vector<Runner> runners;
  for (const EvaluatedModel& model : models) runners.emplace_back(model, options.window, pool);
  std::optional<Runner> reference_runner;
  if (reference != nullptr) reference_runner.emplace(*reference, options.window, pool);
  std::vector<Score> positions(static_cast<std::size_t>(chunk));
  std::vector<Score> totals(models.size());

  for (Index window = 0; window < windows; ++window) {
    report(progress, "evaluating", window, windows);
    for (Runner& runner : runners) runner.restart();
    if (reference_runner) reference_runner->restart();
    for (Index first = 0; first < options.window; first += chunk) {
      const Index size = std::min(chunk, options.window - first);
      const auto start = static_cast<std::size_t>(window * options.window + first);
      const auto inputs = tokens.subspan(start, static_cast<std::size_t>(size));
      const float* reference_logits =
          reference_runner ? reference_runner->advance(inputs).data() : nullptr;
      for (std::size_t model = 0; model < runners.size(); ++model) {
        const Eigen::Map<const Matrix> logits = runners[model].advance(inputs);
        const auto vocabulary = static_cast<std::size_t>(logits.cols());
        pool.run(size, [&](Index i, int) {
          const auto row = static_cast<std::size_t>(i);
          const std::span<const float> own(logits.data() + row * vocabulary, vocabulary);
          std::span<const float> other;
          if (reference_logits != nullptr)
            other = {reference_logits + row * vocabulary, vocabulary};
          positions[row] = evaluate_detail::score(own, tokens[start + row + 1], other);
        });
        for (Index i = 0; i < size; ++i) totals[model] += positions[static_cast<std::size_t>(i)];
      }
    }
  }
  report(progress, "evaluating", windows, windows);

  const Index predicted = windows * options.window;
  const auto mean = [&](double sum) { return sum / static_cast<double>(predicted); };
  const double none = std::numeric_limits<double>::quiet_NaN();
  std::vector<Evaluation> evaluations;
  for (const Score& total : totals) {
    const auto agreements = static_cast<double>(total.agreements);
    evaluations.push_back(
        {std::exp(-mean(total.log_likelihood)),
         reference == nullptr ? none : std::exp(-mean(total.reference_log_likelihood)),
         reference == nullptr ? none : mean(total.divergence),
         reference == nullptr ? none : mean(agreements), predicted, windows});
  }
  return evaluations;
}

/// Evaluates one model: see `evaluate_models`.
[[nodiscard]] inline Evaluation evaluate(const EvaluatedModel& model,
                                         const EvaluatedModel* reference,
                                         std::span<const TokenId> tokens,
                                         const EvaluateOptions& options, ExecutorRef pool,
                                         const Progress& progress = {}) {
  return evaluate_models({&model, 1}, reference, tokens, options, pool, progress).front();
}

}  // namespace nibble
