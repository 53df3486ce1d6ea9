#include <nibble/model/evaluate.hpp>

#include "io/io_test_support.hpp"
#include "support/tiny_model.hpp"

namespace nibble {
namespace {

using namespace test;

/// The definitions, in float64 and in the order in which they are written down.
Evaluation plain_evaluation(const Decoder& model, const Decoder* reference,
                            std::span<const TokenId> tokens, Index window, ThreadPool& pool,
                            const RunOptions& run, const RunOptions& reference_run) {
  const auto softmax = [](const auto& logits) {
    const Eigen::RowVectorXd exponentials =
        (logits.template cast<double>().array() - static_cast<double>(logits.maxCoeff())).exp();
    return Eigen::RowVectorXd(exponentials / exponentials.sum());
  };
  Evaluation result;
  double loss = 0;
  double reference_loss = 0;
  double divergence = 0;
  double agreements = 0;
  result.windows = (static_cast<Index>(tokens.size()) - 1) / window;
  for (Index w = 0; w < result.windows; ++w) {
    const auto start = static_cast<std::size_t>(w * window);
    const auto inputs = tokens.subspan(start, static_cast<std::size_t>(window));
    const Matrix logits = logits_of(model, inputs, pool, run);
    Matrix expected;
    if (reference != nullptr) expected = logits_of(*reference, inputs, pool, reference_run);
    for (Index i = 0; i < window; ++i) {
      const Eigen::RowVectorXd q = softmax(logits.row(i));
      loss -= std::log(q(tokens[start + static_cast<std::size_t>(i) + 1]));
      if (reference == nullptr) continue;
      const Eigen::RowVectorXd p = softmax(expected.row(i));
      reference_loss -= std::log(p(tokens[start + static_cast<std::size_t>(i) + 1]));
      divergence += (p.array() * (p.array() / q.array()).log()).sum();
      Index best = 0, reference_best = 0;
      q.maxCoeff(&best);
      p.maxCoeff(&reference_best);
      agreements += best == reference_best ? 1 : 0;
    }
  }
  result.tokens = result.windows * window;
  const auto count = static_cast<double>(result.tokens);
  result.perplexity = std::exp(loss / count);
  result.reference_perplexity = std::exp(reference_loss / count);
  result.kl_divergence = divergence / count;
  result.top1_agreement = agreements / count;
  return result;
}

TEST_CASE("evaluation is what its definitions say") {
  const TinyFolder folder;
  const ModelFolder files = folder.open();
  ThreadPool pool(2);
  const Decoder original = loaded(files, pool);
  const Decoder coarse = quantized(files, uniform_recipe("int3"), pool);
  const std::vector<TokenId> tokens = random_tokens(53, 401);
  const EvaluatedModel model{&coarse, ActivationMode::Native, KvType::Float16};
  const EvaluatedModel reference{&original, ActivationMode::Float, KvType::Float32};
  const RunOptions run{model.activations, model.kv};
  const RunOptions reference_run{reference.activations, reference.kv};
  for (const Index window : {1, 50, 256, 200}) {
    CAPTURE(window);
    const Evaluation expected =
        plain_evaluation(coarse, &original, tokens, window, pool, run, reference_run);
    const Evaluation found = evaluate(model, &reference, tokens, {.window = window}, pool);
    CHECK(found.windows == expected.windows);
    CHECK(found.tokens == expected.tokens);
    CHECK(found.perplexity == Approx(expected.perplexity).epsilon(1e-9));
    CHECK(found.reference_perplexity == Approx(expected.reference_perplexity).epsilon(1e-9));
    CHECK(found.kl_divergence == Approx(expected.kl_divergence).epsilon(1e-6));
    CHECK(found.top1_agreement == expected.top1_agreement);
    CHECK(found.kl_divergence > 0.01);
    CHECK(found.top1_agreement < 1);

    const Evaluation alone = evaluate(model, nullptr, tokens, {.window = window}, pool);
    CHECK(alone.perplexity == found.perplexity);
    CHECK(std::isnan(alone.reference_perplexity));
    CHECK(std::isnan(alone.kl_divergence));
    CHECK(std::isnan(alone.top1_agreement));
  }
}

TEST_CASE("a model does not differ from itself, and threads change nothing") {
  const TinyFolder folder({.patch = {{"max_position_embeddings", 512}}});
  ThreadPool pool(2), one(1);
  const Decoder decoder = loaded(folder.open(), pool);
  const std::vector<TokenId> tokens = random_tokens(53, 700);
  const EvaluatedModel model{&decoder};
  const EvaluateOptions options{.window = 300};  // more than are held at a time
  const Evaluation itself = evaluate(model, &model, tokens, options, pool);
  CHECK(itself.kl_divergence == 0);
  CHECK(itself.top1_agreement == 1);
  CHECK(itself.reference_perplexity == itself.perplexity);
  CHECK(evaluate(model, &model, tokens, options, one).perplexity == itself.perplexity);
  const Evaluation plain = plain_evaluation(decoder, nullptr, tokens, 300, pool, {}, {});
  CHECK(itself.perplexity == Approx(plain.perplexity).epsilon(1e-9));
}

TEST_CASE("models evaluated together have the bits of each alone") {
  const TinyFolder folder;
  const ModelFolder files = folder.open();
  ThreadPool pool(2);
  const Decoder original = loaded(files, pool);
  const Decoder coarse = quantized(files, uniform_recipe("int3"), pool);
  const Decoder fine = quantized(files, uniform_recipe("int8"), pool);
  const std::vector<TokenId> tokens = random_tokens(53, 401);
  const EvaluateOptions options{.window = 130};
  const EvaluatedModel reference{&original, ActivationMode::Float, KvType::Float32};
  const std::vector<EvaluatedModel> models{
      {&coarse}, {&fine, ActivationMode::Float, KvType::BFloat16}, reference};
  for (const EvaluatedModel* against : {&reference, static_cast<const EvaluatedModel*>(nullptr)}) {
    const std::vector<Evaluation> together =
        evaluate_models(models, against, tokens, options, pool);
    REQUIRE(together.size() == models.size());
    for (std::size_t i = 0; i < models.size(); ++i) {
      CAPTURE(i, against != nullptr);
      const Evaluation alone = evaluate(models[i], against, tokens, options, pool);
      CHECK(together[i].perplexity == alone.perplexity);
      CHECK(together[i].tokens == alone.tokens);
      CHECK(together[i].windows == alone.windows);
      if (against == nullptr) {
        CHECK(std::isnan(together[i].kl_divergence));
        continue;
      }
      CHECK(together[i].kl_divergence == alone.kl_divergence);
      CHECK(together[i].top1_agreement == alone.top1_agreement);
    }
  }
}

TEST_CASE("windows are counted without the incomplete one, and can be limited") {
  const TinyFolder folder;
  ThreadPool pool(1);
  const Decoder decoder = loaded(folder.open(), pool);
  const auto windows = [&](Index count, Index window, Index limit) {
    const Evaluation result =
        evaluate({&decoder}, nullptr, random_tokens(53, count), {window, limit}, pool);
    CHECK(result.tokens == result.windows * window);
    return result.windows;
  };
  CHECK(windows(11, 10, 0) == 1);
  CHECK(windows(20, 10, 0) == 1);
  CHECK(windows(21, 10, 0) == 2);
  CHECK(windows(2, 1, 0) == 1);
  CHECK(windows(101, 10, 3) == 3);
  CHECK(windows(101, 10, 30) == 10);
}

TEST_CASE("what cannot be evaluated is refused") {
  const TinyFolder folder;
  const TinyFolder larger({.patch = {{"vocab_size", 54}}});
  const TinyFolder shorter({.patch = {{"max_position_embeddings", 20}}});
  const TinyFolder broken({.edit = [](TensorLayout& layout, std::vector<float>& values) {
    // Finite, and so large that the logits are not.
    if (layout.name == "model.norm.weight") std::fill(values.begin(), values.end(), 3e38F);
    if (layout.name == "lm_head.weight") std::fill(values.begin(), values.end(), 3e38F);
    return true;
  }});
  ThreadPool pool(2);
  const Decoder decoder = loaded(folder.open(), pool), other = loaded(larger.open(), pool),
                narrow = loaded(shorter.open(), pool), infinite = loaded(broken.open(), pool);
  const EvaluatedModel model{&decoder}, other_model{&other}, narrow_model{&narrow};
  std::vector<TokenId> tokens = random_tokens(53, 100);
  const auto run = [&](const EvaluatedModel* reference, Index window) {
    return evaluate(model, reference, tokens, {.window = window}, pool);
  };
  REQUIRE_ERROR(run(nullptr, 0), "window: expected 1 or more, found 0");
  REQUIRE_ERROR(run(nullptr, 257),
                "a window of 257 tokens is longer than the model's context of 256");
  REQUIRE_ERROR(run(&narrow_model, 50),
                "a window of 50 tokens is longer than the model's context of 20");
  REQUIRE_ERROR(run(&other_model, 50), "the reference has a vocabulary of 54, the model one of 53");
  const std::vector<EvaluatedModel> different{model, other_model};
  REQUIRE_ERROR(evaluate_models(different, nullptr, tokens, {.window = 50}, pool),
                "another model has a vocabulary of 54, the model one of 53");
  REQUIRE_ERROR(evaluate_models({}, nullptr, tokens, {.window = 50}, pool),
                "there is no model to evaluate");
  REQUIRE_ERROR(run(nullptr, 100), "a text of 100 tokens is too short for a window of 100");
  REQUIRE_ERROR(evaluate({&infinite}, nullptr, tokens, {.window = 10}, pool),
                "logits are not numbers");
  const EvaluatedModel infinite_model{&infinite};
  REQUIRE_ERROR(run(&infinite_model, 10), "the KL divergence from the reference is");
  for (const TokenId wrong : {TokenId{53}, TokenId{-1}}) {
    tokens[70] = wrong;
    REQUIRE_ERROR(run(nullptr, 50), concat("token id ", wrong, " is outside the vocabulary of 53"));
  }
  tokens.clear();
  REQUIRE_ERROR(run(nullptr, 1), "a text of 0 tokens is too short");
  REQUIRE_ERROR(run(nullptr, 50), "a text of 0 tokens is too short");
}

TEST_CASE("an evaluation reports its windows and can be cancelled between them") {
  const TinyFolder folder;
  ThreadPool pool(1);
  const Decoder decoder = loaded(folder.open(), pool);
  const std::vector<TokenId> tokens = random_tokens(53, 50);
  std::vector<Index> seen;
  const Progress progress = [&](std::string_view, Index done, Index total) {
    CHECK(total == 4);
    seen.push_back(done);
    return done < 3;
  };
  CHECK_THROWS_AS(evaluate({&decoder}, nullptr, tokens, {.window = 12}, pool, progress), Cancelled);
  CHECK(seen == std::vector<Index>{0, 1, 2, 3});
}

TEST_CASE("novella-5m knows English prose from noise") {
  const ModelFolder files(source_path("examples/models/novella-5m"));
  ThreadPool pool(2);
  const Decoder decoder = loaded(files, pool);
  const Decoder int8 = quantized(files, uniform_recipe("int8"), pool);
  const std::string text = read_bytes(source_path("examples/texts/treasure_island.txt"));
  const std::vector<TokenId> tokens = files.tokenizer().encode(text.substr(0, 3000));
  const EvaluatedModel exact{&decoder, ActivationMode::Float, KvType::Float32};
  const EvaluateOptions options{.window = 256, .max_windows = 2};
  const Evaluation prose = evaluate({&int8}, &exact, tokens, options, pool);
  CHECK(prose.windows == 2);
  CHECK(evaluate(exact, nullptr, tokens, options, pool).perplexity ==
        Approx(prose.perplexity).epsilon(0.02));
  CHECK(prose.perplexity < 80);  // 36 over the whole book; the beginning is harder
  CHECK(prose.kl_divergence < 0.01);
  CHECK(prose.top1_agreement > 0.9);
  const std::vector<TokenId> noise = random_tokens(4096, 600);
  CHECK(evaluate(exact, nullptr, noise, options, pool).perplexity > 4096);
}

}  // namespace
}  // namespace nibble
