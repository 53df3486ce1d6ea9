// nibble-evaluate.
#include "run_program.hpp"

using namespace nibble::test;

TEST_CASE("a model agrees with itself") {
  const auto json = run_program("evaluate", {shipped_model(), shipped_text(), "--reference",
                                             shipped_model(), "--window", "128", "--windows", "2",
                                             "--activations", "float", "--kv", "float32", "--json"})
                        .json();
  CHECK(json["kl_divergence"].get<double>() == Approx(0).margin(1e-12));
  CHECK(json["top1_agreement"] == 1);
  CHECK(json["bits_per_weight"] == 16);
  CHECK(json["tokens"] == 256);
  CHECK(json["windows"] == 2);
  CHECK(json["perplexity"].get<double>() > 1);
  CHECK(json["perplexity"].get<double>() < 200);
}

TEST_CASE("without a reference there is no distance") {
  const std::vector<std::string> arguments{
      shipped_model(), shipped_text(), "--window", "64", "--windows", "1"};
  auto with_json = arguments;
  with_json.emplace_back("--json");
  const auto json = run_program("evaluate", with_json).json();
  CHECK(json["kl_divergence"].is_null());
  CHECK(json["top1_agreement"].is_null());
  CHECK(json["activations"] == "native");
  CHECK(json["kv"] == "float16");

  const Outcome outcome = run_program("evaluate", arguments);
  CHECK(outcome.exit_code == 0);
  CHECK_THAT(outcome.out, Catch::Matchers::ContainsSubstring("perplexity"));
  CHECK_THAT(outcome.err, Catch::Matchers::ContainsSubstring("native activations, float16 KV"));
}
