// Against the results of the reference implementation in float32 (PyTorch and transformers).

#include <nibble/io/json.hpp>
#include <nibble/model/generate.hpp>

#include "support/catch.hpp"
#include "support/tiny_model.hpp"

namespace nibble {
namespace {

using namespace test;

std::vector<TokenId> read_ids(const TensorView& tensor) {
  expect_dtype(tensor, DType::I32);
  std::vector<TokenId> ids(tensor.data.size() / sizeof(TokenId));
  std::memcpy(ids.data(), tensor.data.data(), tensor.data.size());
  return ids;
}

/// The largest difference from the file's logits of the file's ids.
float distance(const Decoder& decoder, const std::filesystem::path& expected_file,
               ThreadPool& pool) {
  const auto file = SafetensorsFile::open(expected_file);
  const std::vector<TokenId> ids = read_ids(file.at("input_ids"));
  const std::vector<float> expected = read_floats(file.at("logits"));
  const Matrix logits = logits_of(decoder, ids, pool, exact_run);
  REQUIRE(static_cast<std::size_t>(logits.size()) == expected.size());
  const auto difference = logits - view_matrix(expected.data(), logits.rows(), logits.cols());
  REQUIRE(difference.allFinite());
  return difference.cwiseAbs().maxCoeff();
}

void check_greedy(const std::filesystem::path& model, const std::filesystem::path& expected_file,
                  ThreadPool& pool) {
  const ModelFolder folder(model);
  const Decoder decoder = loaded(folder, pool);
  const Tokenizer tokenizer = folder.tokenizer();
  Workspace workspace(pool, exact_run.activations);
  const auto texts = read_json_file(expected_file);
  REQUIRE_FALSE(texts.empty());
  for (const auto& [prompt, expected] : texts.items()) {
    const std::vector<TokenId> ids = tokenizer.encode(prompt);
    const auto all = expected.at("ids").get<std::vector<TokenId>>();
    REQUIRE(all.size() > ids.size());
    REQUIRE(std::equal(ids.begin(), ids.end(), all.begin()));
    Session session = decoder.make_session(static_cast<Index>(all.size()), exact_run.kv);
    GenerateOptions options;
    options.max_tokens = static_cast<Index>(all.size() - ids.size());
    const Generation result = generate(decoder, tokenizer, ids, session, workspace, options);
    CHECK(std::equal(result.ids.begin(), result.ids.end(),
                     all.begin() + static_cast<std::ptrdiff_t>(ids.size()), all.end()));
    CHECK(prompt + result.text == expected.at("text").get<std::string>());
  }
}

TEST_CASE("novella-5m's logits are the reference implementation's") {
  ThreadPool pool(2);
  const Decoder decoder = loaded(ModelFolder(source_path("examples/models/novella-5m")), pool);
  CHECK(distance(decoder, source_path("tests/data/novella-5m.logits.safetensors"), pool) <= 1e-3F);
}

TEST_CASE("novella-5m's greedy texts are the reference implementation's") {
  ThreadPool pool(2);
  check_greedy(source_path("examples/models/novella-5m"),
               source_path("tests/data/novella-5m.greedy.json"), pool);
}

TEST_CASE("novella-28m's logits and greedy texts are the reference implementation's") {
  NIBBLE_REQUIRE_FIXTURES(fixtures);
  ThreadPool pool(2);
  const auto model = fixtures / "models/novella-28m";
  CHECK(distance(loaded(ModelFolder(model), pool),
                 fixtures / "expected/novella-28m.logits.safetensors", pool) <= 1e-3F);
  check_greedy(model, fixtures / "expected/novella-28m.greedy.json", pool);
}

TEST_CASE("small models of every architecture agree with the reference implementation") {
  NIBBLE_REQUIRE_FIXTURES(fixtures);
  const auto name = GENERATE(as<std::string>(), "llama-mha-bias", "llama3-rope-untied",
                             "mistral-sliding", "qwen2", "qwen3");
  INFO(name);
  const auto path = fixtures / "models/zoo" / name;
  const ModelFolder folder(path);
  ThreadPool pool(2);
  for (const bool rounded : {true, false}) {
    // These models were cast to bfloat16 as a whole when their logits were computed, and the
    // rotation frequencies with them; with frequencies in float32 the logits drift apart as the
    // position grows, by a few hundredths in the end. The likeliest tokens are the same.
    ModelConfig config = folder.config();
    config.rope.bfloat16_frequencies = rounded;
    const Decoder decoder = decoder_of(config, folder.tensors(), pool);
    if (rounded) CHECK(distance(decoder, path / "expected.safetensors", pool) <= 2e-3F);

    const auto file = SafetensorsFile::open(path / "expected.safetensors");
    const std::vector<TokenId> greedy = read_ids(file.at("greedy_from_20"));
    std::vector<TokenId> ids = read_ids(file.at("input_ids"));
    REQUIRE(ids.size() >= 20);
    REQUIRE(greedy.size() > 20);
    ids.resize(20);
    REQUIRE(std::equal(ids.begin(), ids.end(), greedy.begin()));
    for (std::size_t i = 20; i < greedy.size(); ++i) {
      const Matrix logits = logits_of(decoder, ids, pool, exact_run);
      const auto last = logits.row(logits.rows() - 1);
      ids.push_back(most_likely({last.data(), static_cast<std::size_t>(last.size())}));
      REQUIRE(ids.back() == greedy[i]);
    }
  }
}

}  // namespace
}  // namespace nibble
