#include <nibble/model/sampler.hpp>

#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "io/io_test_support.hpp"
#include "support/random.hpp"

namespace nibble {
namespace {

using namespace test;

constexpr float plus_infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

TokenId greedy_choice(const std::vector<float>& logits, const std::vector<TokenId>& context = {},
                      float penalty = 1) {
  Sampler sampler({.repetition_penalty = penalty});
  return sampler.sample(logits, context);
}

TEST_CASE("greedy takes the largest logit, and of equal ones the lowest id") {
  CHECK(greedy_choice({1, 3, 2}) == 1);
  CHECK(greedy_choice({2, 3, 3, 1, 3}) == 1);
  CHECK(greedy_choice({-5, -5}) == 0);
  CHECK(greedy_choice({0.0F, -0.0F}) == 0);
  CHECK(greedy_choice({-0.0F, 0.0F}) == 0);
  CHECK(greedy_choice({-plus_infinity, -7}) == 1);
  CHECK(greedy_choice({4}) == 0);
}

TEST_CASE("logits that are no numbers are refused by token") {
  REQUIRE_ERROR(greedy_choice({0, not_a_number, 1}), "the logit of token 1 is not a number");
  REQUIRE_ERROR(greedy_choice({not_a_number}), "the logit of token 0 is not a number");
  for (const float temperature : {0.0F, 1.0F}) {
    Sampler sampler({.temperature = temperature});
    REQUIRE_ERROR(sampler.sample(std::vector<float>{0, not_a_number}, {}),
                  "token 1 is not a number");
    REQUIRE_ERROR(sampler.sample(std::vector<float>{1, plus_infinity}, {}),
                  "the largest logit is inf");
    REQUIRE_ERROR(sampler.sample(std::vector<float>{-plus_infinity, -plus_infinity}, {}),
                  "the largest logit is -inf");
  }
}

TEST_CASE("the penalty divides positive logits of tokens seen and multiplies negative ones, once") {
  CHECK(greedy_choice({3, 2}, {0}, 1.4F) == 0);
  CHECK(greedy_choice({3, 2}, {0}, 1.6F) == 1);
  CHECK(greedy_choice({3, 2}, {0, 0, 0}, 1.4F) == 0);  // not once for each time
  CHECK(greedy_choice({-1.5F, -1}, {1}, 2) == 0);
  CHECK(greedy_choice({-3, -1}, {1}, 2) == 1);
  CHECK(greedy_choice({3, 2}, {1}, 0.5F) == 1);  // below 1 it is a reward
  CHECK(greedy_choice({3, 2}, {-1, 7, 2147483647}, 2) == 0);
}

TEST_CASE("options out of range are refused by name") {
  REQUIRE_ERROR(Sampler({.temperature = -0.1F}),
                "temperature: expected a number from 0, found -0.1");
  REQUIRE_ERROR(Sampler({.temperature = not_a_number}), "temperature");
  REQUIRE_ERROR(Sampler({.temperature = plus_infinity}), "temperature");
  REQUIRE_ERROR(Sampler({.top_k = -1}), "top-k: expected 0 or more, found -1");
  REQUIRE_ERROR(Sampler({.top_p = 0}), "top-p: expected more than 0 and at most 1, found 0");
  REQUIRE_ERROR(Sampler({.top_p = 1.5F}), "top-p");
  REQUIRE_ERROR(Sampler({.top_p = not_a_number}), "top-p");
  REQUIRE_ERROR(Sampler({.min_p = -1}), "min-p: expected 0 to 1, found -1");
  REQUIRE_ERROR(Sampler({.min_p = 1.01F}), "min-p");
  REQUIRE_ERROR(Sampler({.min_p = not_a_number}), "min-p");
  REQUIRE_ERROR(Sampler({.repetition_penalty = 0}), "repetition-penalty: expected more than 0");
  REQUIRE_ERROR(Sampler({.repetition_penalty = not_a_number}), "repetition-penalty");
  REQUIRE_ERROR(Sampler({.repetition_penalty = plus_infinity}), "repetition-penalty");
}

/// Probabilities as the definition has them; filtered ones are 0.
std::vector<double> probabilities(const std::vector<float>& logits,
                                  const SamplingOptions& options) {
  struct Token {
    std::size_t id;
    double probability;
  };
  std::vector<Token> tokens;
  double total = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    tokens.push_back({i, std::exp(static_cast<double>(logits[i]) / options.temperature)});
    total += tokens.back().probability;
  }
  for (Token& token : tokens) token.probability /= total;
  std::stable_sort(tokens.begin(), tokens.end(),
                   [](const Token& a, const Token& b) { return a.probability > b.probability; });
  const auto normalize = [&] {
    double sum = 0;
    for (const Token& token : tokens) sum += token.probability;
    for (Token& token : tokens) token.probability /= sum;
  };
  if (options.top_k != 0 && static_cast<std::size_t>(options.top_k) < tokens.size()) {
    tokens.resize(static_cast<std::size_t>(options.top_k));
    normalize();
  }
  if (options.top_p < 1) {
    double sum = 0;
    std::size_t count = 0;
    while (count < tokens.size() && sum < options.top_p) sum += tokens[count++].probability;
    tokens.resize(count);
    normalize();
  }
  while (tokens.back().probability < tokens.front().probability * options.min_p) tokens.pop_back();
  normalize();
  std::vector<double> result(logits.size(), 0);
  for (const Token& token : tokens) result[token.id] = token.probability;
  return result;
}

/// Draws and compares how often each token came with how often it should.
void check_distribution(const std::vector<float>& logits, SamplingOptions options) {
  CAPTURE(options.temperature, options.top_k, options.top_p, options.min_p);
  constexpr int draws = 20000;
  const std::vector<double> expected = probabilities(logits, options);
  options.seed = 42;
  Sampler sampler(options);
  std::vector<int> counts(logits.size(), 0);
  for (int i = 0; i < draws; ++i) {
    ++counts[static_cast<std::size_t>(sampler.sample(logits, {}))];
  }
  double chi_square = 0;
  double freedom = -1;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (expected[i] == 0) {
      REQUIRE(counts[i] == 0);  // exactly the expected set is kept
      continue;
    }
    const double mean = draws * expected[i];
    if (mean < 5) continue;  // too rare for the statistic
    if (mean > 20) CHECK(counts[i] > 0);
    chi_square += (counts[i] - mean) * (counts[i] - mean) / mean;
    freedom += 1;
  }
  // Mean `freedom`, variance 2 freedom: five standard deviations, and some for few degrees.
  CHECK(chi_square < freedom + 5 * std::sqrt(2 * std::max(freedom, 0.0)) + 10);
}

TEST_CASE("tokens are drawn from the distribution that the options describe") {
  test::Random random(8);
  for (int round = 0; round < 3; ++round) {
    const std::vector<float> logits = random_floats(random, 30, 2.0F);
    check_distribution(logits, {.temperature = 1});
    check_distribution(logits, {.temperature = 0.5F});
    check_distribution(logits, {.temperature = 3});
    check_distribution(logits, {.temperature = 1, .top_k = 1});
    check_distribution(logits, {.temperature = 1, .top_k = 7});
    check_distribution(logits, {.temperature = 1, .top_k = 1000});
    check_distribution(logits, {.temperature = 1, .top_p = 0.01F});
    check_distribution(logits, {.temperature = 1, .top_p = 0.6F});
    check_distribution(logits, {.temperature = 1, .top_p = 0.95F});
    check_distribution(logits, {.temperature = 1, .min_p = 0.2F});
    check_distribution(logits, {.temperature = 1, .min_p = 1});
    check_distribution(logits, {.temperature = 2, .top_k = 12, .top_p = 0.8F, .min_p = 0.1F});
  }
}

TEST_CASE("among equal logits the filters keep the lowest ids") {
  const std::vector<float> logits(10, 1.0F);
  const auto kept = [&](SamplingOptions options) {
    options.temperature = 1;
    Sampler sampler(options);
    std::set<TokenId> ids;
    for (int i = 0; i < 500; ++i) ids.insert(sampler.sample(logits, {}));
    return ids;
  };
  CHECK(kept({.top_k = 3}) == std::set<TokenId>{0, 1, 2});
  CHECK(kept({.top_p = 0.35F}) == std::set<TokenId>{0, 1, 2, 3});
  CHECK(kept({.min_p = 1}).size() == 10);
}

TEST_CASE("the same seed draws the same tokens, another seed others") {
  test::Random random(1);
  const std::vector<float> logits = random_floats(random, 1000);
  const auto drawn = [&](std::uint64_t seed) {
    Sampler sampler({.temperature = 1, .top_p = 0.9F, .seed = seed});
    std::vector<TokenId> ids;
    for (int i = 0; i < 50; ++i) ids.push_back(sampler.sample(logits, ids));
    return ids;
  };
  CHECK(drawn(5) == drawn(5));
  CHECK(drawn(5) != drawn(6));
}

TEST_CASE("extreme temperatures and logits draw what their limits say") {
  const std::vector<float> logits{-3e38F, 3e38F, 0, 3e38F, -plus_infinity};
  for (const float temperature : {1e-45F, 1e-6F, 1.0F}) {
    Sampler sampler({.temperature = temperature});
    for (int i = 0; i < 20; ++i) {
      const TokenId id = sampler.sample(logits, {});
      CHECK((id == 1 || id == 3));
    }
  }
  Sampler hot({.temperature = 3e38F});
  std::set<TokenId> ids;
  for (int i = 0; i < 200; ++i) ids.insert(hot.sample(std::vector<float>{0, 50, -50}, {}));
  CHECK(ids.size() == 3);
}

}  // namespace
}  // namespace nibble
