// Round-to-nearest against the figures of the GPTQ authors' grid in PyTorch, on a whole book.

#include <cmath>
#include <vector>

#include <nibble/io/json.hpp>
#include <nibble/io/text_file.hpp>
#include <nibble/model/evaluate.hpp>

#include "support/catch.hpp"
#include "support/tiny_model.hpp"

namespace nibble {
namespace {

using namespace test;

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NIBBLE_ADDRESS_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(NIBBLE_ADDRESS_SANITIZER)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

/// Whether a whole book is too long for this build; says so.
bool too_slow() {
  if (!sanitized) return false;
  WARN("skipped: a whole book takes too long under a sanitizer; the plain build runs it");
  SUCCEED();
  return true;
}

/// A row of reference/quality.json.
struct QualityRow {
  const char* name;
  const char* format;
  Index group;
  bool asymmetric;
};

/// Float activations, float32 KV, windows of 1,024: perplexity within `perplexity_bound`, KL
/// divergence within 1 %.
void check_rows(const std::string& model_name, const std::vector<QualityRow>& rows,
                double perplexity_bound) {
  NIBBLE_REQUIRE_FIXTURES(fixtures);
  if (too_slow()) return;
  const auto reference_file = read_json_file(fixtures / "reference" / "quality.json");
  const ModelFolder folder(fixtures / "models" / model_name);
  const auto tokens =
      folder.tokenizer().encode(read_text_file(fixtures / "text" / "Stevenson_Treasure_1883.txt"));
  ThreadPool pool;
  const Decoder decoder = loaded(folder, pool);
  const EvaluatedModel reference{&decoder, ActivationMode::Float, KvType::Float32};
  std::vector<Decoder> packed;
  for (const QualityRow& row : rows) {
    packed.push_back(quantized(
        folder, uniform_recipe(row.format, {.group_size = row.group, .asymmetric = row.asymmetric}),
        pool));
  }
  std::vector<EvaluatedModel> models;
  for (const Decoder& model : packed) {
    models.push_back({&model, ActivationMode::Float, KvType::Float32});
  }
  const auto evaluations = evaluate_models(models, &reference, tokens, {}, pool);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto& expected = reference_file.at(concat(model_name, " | RTN ", rows[i].name));
    const Evaluation& found = evaluations[i];
    CAPTURE(model_name, rows[i].name, found.perplexity, found.kl_divergence);
    CHECK(std::abs(found.perplexity - expected.at("ppl").get<double>()) <= perplexity_bound);
    const auto divergence = expected.at("kld").get<double>();
    CHECK(std::abs(found.kl_divergence - divergence) <= 0.01 * divergence);
  }
}

TEST_CASE("float32 perplexity of novella-5m on a whole book", "[slow]") {
  NIBBLE_REQUIRE_FIXTURES(fixtures);
  if (too_slow()) return;
  const ModelFolder folder(fixtures / "models" / "novella-5m");
  const auto tokens =
      folder.tokenizer().encode(read_text_file(fixtures / "text" / "Stevenson_Treasure_1883.txt"));
  ThreadPool pool;
  const Decoder decoder = loaded(folder, pool);
  const Evaluation found =
      evaluate({&decoder, ActivationMode::Float, KvType::Float32}, nullptr, tokens, {}, pool);
  CHECK(std::abs(found.perplexity - 35.6165) <= 0.005);
}

TEST_CASE("round-to-nearest of novella-28m has the reference's perplexity and divergence",
          "[slow]") {
  check_rows("novella-28m",
             {{"w4 g128 asym", "int4", 128, true}, {"w3 g128 sym", "int3", 128, false}}, 0.05);
}

}  // namespace
}  // namespace nibble
