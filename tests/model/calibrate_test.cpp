#include <nibble/dispatch/dispatch.hpp>
#include <nibble/model/quantize_model.hpp>

#include <cmath>
#include <limits>

#include "io/io_test_support.hpp"
#include "support/matrices.hpp"
#include "support/tiny_model.hpp"

namespace nibble {
namespace {

using namespace test;

Recipe gptq_recipe(std::string_view format, const FormatOptions& options = {}) {
  return Recipe::uniform(Gptq{}, make_format(format, options));
}

CalibrationText random_text(const ModelFolder& model, Index tokens, Index window, Index samples,
                            unsigned seed = 1) {
  return {random_tokens(model.config().vocab_size, tokens, seed), window, samples};
}

CalibratedTensors calibrated(const ModelFolder& model, const Recipe& recipe,
                             const CalibrationText& text, int threads = 2) {
  ThreadPool pool(threads);
  return calibrate(model.config(), model.float_tensors(), recipe, &text, pool);
}

bool same_matrices(const CalibratedTensors& a, const CalibratedTensors& b) {
  return std::ranges::equal(a.matrices, b.matrices, [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.format() == y.second.format() &&
           std::ranges::equal(x.second.bytes(), y.second.bytes());
  });
}

/// A quantizer's view: the inputs of the last token's Linears cannot be seen from outside, but a
/// model can be made whose logits are its hidden state: the identity as head.
TinyModel transparent_model(std::string_view type) {
  return {.patch = {{"model_type", type},
                    {"num_hidden_layers", 2},
                    {"vocab_size", 24},
                    {"tie_word_embeddings", false}},
          .edit = [](TensorLayout& layout, std::vector<float>& values) {
            if (layout.name == "lm_head.weight") {
              for (std::size_t i = 0; i < values.size(); ++i) values[i] = i % 25 == 0 ? 1.0F : 0.0F;
            }
            return true;
          }};
}

/// Delivers the tensors of the first layers only, under another final norm.
class Cut : public TensorProvider {
 public:
  Cut(const TensorProvider& tensors, std::string norm)
      : tensors_(tensors), norm_(std::move(norm)) {}
  AnyFormat format(const TensorSpec& spec) const override { return tensors_.format(spec); }
  AnyMatrix matrix(const TensorSpec& spec, ExecutorRef pool) const override {
    return tensors_.matrix(spec, pool);
  }
  std::vector<float> vector(const TensorSpec& spec) const override {
    TensorSpec other = spec;
    if (spec.name == final_norm_name) other.name = norm_;
    return tensors_.vector(other);
  }

 private:
  const TensorProvider& tensors_;
  std::string norm_;
};

TEST_CASE("a layer is calibrated on what the layers before it, quantized, make of the text") {
  for (const char* type : {"llama", "qwen2", "qwen3"}) {
    CAPTURE(type);
    const TinyFolder folder(transparent_model(type));
    const ModelFolder model = folder.open();
    const Recipe recipe = gptq_recipe("int3", {32});
    const CalibrationText text = random_text(model, 450, 40, 10);
    const CalibratedTensors found = calibrated(model, recipe, text);
    REQUIRE(found.matrices.size() == 14);
    REQUIRE(found.reports.size() == 14);
    CHECK(found.reports.front().tensor == "model.layers.0.self_attn.q_proj.weight");
    CHECK(found.reports.front().method == "gptq");
    CHECK(found.reports.back().tensor == "model.layers.1.mlp.down_proj.weight");

    // One layer of the quantized model, the second one's norm and the identity: the inputs of the
    // second layer's q, k and v.
    ThreadPool pool(2);
    ModelConfig first = model.config();
    first.layers = 1;
    first.sliding_windows.resize(1);
    const QuantizedTensors tensors(model.float_tensors(), recipe, found);
    const Decoder decoder =
        decoder_of(first, Cut(tensors, "model.layers.1.input_layernorm.weight"), pool);
    Eigen::MatrixXd hessian = Eigen::MatrixXd::Zero(24, 24);
    for (Index window = 0; window < 10; ++window) {
      const std::span<const TokenId> tokens(text.tokens.data() + window * 40, 40);
      const Eigen::MatrixXd x = logits_of(decoder, tokens, pool, exact_run).cast<double>();
      hessian += x.transpose() * x;
    }
    for (const char* part : {"q_proj", "k_proj", "v_proj"}) {
      const std::string name = concat("model.layers.1.self_attn.", part, ".weight");
      CAPTURE(name);
      for (const TensorSpec& spec : tensor_specs(model.config())) {
        if (spec.name != name) continue;
        const CalibratedMatrix expected =
            quantize_gptq(model.float_tensors().source(spec), make_format("int3", {32}),
                          {hessian, {}}, Gptq{}, pool);
        CHECK(expected.matrix.dequantize() == found.matrices.at(name).dequantize());
      }
    }
  }
}

TEST_CASE("calibrated bytes are the same on any number of threads") {
  const TinyFolder folder;
  const ModelFolder model = folder.open();
  const CalibrationText text = random_text(model, 200, 64, 3);
  for (const std::string_view format : {"int4", "zero-one-int8"}) {
    const CalibratedTensors one = calibrated(model, gptq_recipe(format), text, 1);
    for (const int threads : {2, 3}) {
      CHECK(same_matrices(calibrated(model, gptq_recipe(format), text, threads), one));
    }
  }
}

TEST_CASE("the text's first whole windows count and nothing else") {
  const TinyFolder folder;
  const ModelFolder model = folder.open();
  const Recipe recipe = gptq_recipe("int3");
  const CalibrationText text = random_text(model, 100, 20, 3);
  const CalibratedTensors expected = calibrated(model, recipe, text);
  CalibrationText cut = text;
  cut.tokens.resize(60);
  CHECK(same_matrices(calibrated(model, recipe, cut), expected));
  cut.samples = 50;  // more than there are
  CHECK(same_matrices(calibrated(model, recipe, cut), expected));
  CalibrationText other = text;
  other.tokens[59] = (other.tokens[59] + 1) % 53;
  CHECK_FALSE(same_matrices(calibrated(model, recipe, other), expected));
  other.tokens[59] = text.tokens[59];
  other.window = 30;
  other.samples = 2;
  CHECK_FALSE(same_matrices(calibrated(model, recipe, other), expected));
}

TEST_CASE("a recipe mixes methods, and what it keeps is run as it is") {
  const TinyFolder folder;
  const ModelFolder model = folder.open();
  const CalibrationText text = random_text(model, 200, 50, 4);
  const Recipe recipe{{{"model.layers.0.mlp.*", true, {}, {}},
                       {"*.1.mlp.up_proj.weight", false, RoundToNearest{}, make_format("int8")},
                       {"model.embed_tokens.weight", false, RoundToNearest{}, make_format("int8")},
                       {"*_proj.weight", false, Gptq{}, make_format("int4", {32, true})}}};
  const CalibratedTensors found = calibrated(model, recipe, text);
  CHECK(found.matrices.size() == 11);
  CHECK(found.reports.size() == 10);
  ThreadPool pool(2);
  quantize_folder(model, recipe, folder / "out", Existing::refuse, pool, {}, dispatch::best(),
                  &text);
  const ModelFolder packed(folder / "out");
  for (const TensorSpec& spec : tensor_specs(model.config())) {
    const auto place = found.matrices.find(spec.name);
    if (place == found.matrices.end()) continue;
    CHECK(std::ranges::equal(packed.tensors().matrix(spec, pool).bytes(), place->second.bytes()));
  }
  const std::vector<TokenId> ids = random_tokens(53, 30);
  const Decoder in_memory = quantize_model(model, recipe, pool, {}, dispatch::best(), &text);
  CHECK(same_bits(logits_of(loaded(packed, pool), ids, pool), logits_of(in_memory, ids, pool)));
}

TEST_CASE("calibration that cannot be is refused") {
  const TinyFolder folder;
  const ModelFolder model = folder.open();
  ThreadPool pool(1);
  const std::vector<std::string> before = listing(folder / ".");
  const auto refused = [&](const Recipe& recipe, const CalibrationText* text,
                           const std::string& message) {
    REQUIRE_ERROR(quantize_folder(model, recipe, folder / "out", Existing::refuse, pool, {},
                                  dispatch::best(), text),
                  message);
    CHECK(listing(folder / ".") == before);
  };
  const Recipe recipe = gptq_recipe("int4");
  refused(recipe, nullptr, "method gptq needs a text to calibrate on");
  CalibrationText text = random_text(model, 49, 50, 4);
  refused(recipe, &text, "the text has 49 tokens, less than a window of 50");
  text.window = 257;
  refused(recipe, &text, "a window of 257 tokens is longer than the model's context of 256");
  text.window = 0;
  refused(recipe, &text, "expected 1 or more of both");
  text = random_text(model, 49, 20, 0);
  refused(recipe, &text, "expected 1 or more of both");
  text.samples = 1;
  text.tokens[3] = 53;
  refused(recipe, &text, "token id 53 is outside the vocabulary of 53");
  refused({{{"*.weight", false, Gptq{}, make_format("int4")}}}, &text,
          "'model.embed_tokens.weight' is none of them");
}

TEST_CASE("activations that are not finite are refused by the name of the tensor") {
  const TinyFolder folder({.edit = [](TensorLayout& layout, std::vector<float>& values) {
    if (layout.name == "model.layers.1.post_attention_layernorm.weight") values[5] = 1e30F;
    return true;
  }});
  const ModelFolder model = folder.open();
  const CalibrationText text = random_text(model, 100, 20, 4);
  REQUIRE_ERROR(calibrated(model, gptq_recipe("int4"), text),
                "tensor 'model.layers.1.mlp.gate_proj.weight': input 5");
}

TEST_CASE("weights that are not finite are refused by the name of the tensor") {
  const TinyFolder folder({.edit = [](TensorLayout& layout, std::vector<float>& values) {
    if (layout.name == "model.layers.1.mlp.down_proj.weight") values[40] = NAN;
    return true;
  }});
  const ModelFolder model = folder.open();
  const CalibrationText text = random_text(model, 100, 20, 4);
  ThreadPool pool(2);
  const std::vector<std::string> before = listing(folder / ".");
  REQUIRE_ERROR(quantize_folder(model, gptq_recipe("int4"), folder / "out", Existing::refuse, pool,
                                {}, dispatch::best(), &text),
                "tensor 'model.layers.1.mlp.down_proj.weight': weight [1][3] is nan");
  CHECK(listing(folder / ".") == before);
}

TEST_CASE("texts and models that say little are quantized all the same") {
  const auto check = [](const TinyModel& tiny, const CalibrationText& text) {
    const TinyFolder folder(tiny);
    const ModelFolder model = folder.open();
    for (const AnyQuantizer& method :
         {AnyQuantizer(Awq{}), AnyQuantizer(Gptq{}), AnyQuantizer(Best{})}) {
      const Recipe recipe = Recipe::uniform(method, make_format("int3", {32, true}));
      const CalibratedTensors found = calibrated(model, recipe, text);
      REQUIRE(found.reports.size() == 14);
      for (const TensorReport& report : found.reports) {
        CAPTURE(report.tensor, report.method);
        CHECK(std::isfinite(report.calibration.error));
        // The guard against round-to-nearest lets rounding pass.
        CHECK(report.calibration.error <= report.calibration.nearest_error * (1 + 1e-8));
        CHECK(found.matrices.at(report.tensor).dequantize().allFinite());
      }
    }
  };
  const std::vector<TokenId> tokens = random_tokens(53, 60);
  check({}, {{tokens.begin(), tokens.begin() + 8}, 8, 1});   // fewer tokens than inputs
  check({}, {std::vector<TokenId>(60, TokenId{7}), 20, 3});  // always the same token
  const auto with = [](const std::string& part, std::size_t index, float value) {
    return TinyModel{.edit = [=](TensorLayout& layout, std::vector<float>& values) {
      if (layout.name.find(part) == std::string::npos) return true;
      for (std::size_t i = 0; i < values.size(); ++i) {
        if (index == values.size() || i == index) values[i] = value;
      }
      return true;
    }};
  };
  const CalibrationText text{tokens, 20, 3};
  check(with("layernorm.weight", 5, 0.0F), text);              // an input that is always zero
  check(with("layernorm.weight", 24, 0.0F), text);             // all of them
  check(with("layers.0.mlp.gate_proj", 24 * 37, 0.0F), text);  // all inputs of down_proj
}

TEST_CASE("a cancelled calibration leaves nothing behind, wherever it is cancelled") {
  const TinyFolder folder({.patch = {{"num_hidden_layers", 1}}});
  const ModelFolder model = folder.open();
  ThreadPool pool(2);
  const std::vector<std::string> before = listing(folder / ".");
  const CalibrationText text = random_text(model, 60, 20, 3);
  const auto run = [&](const Progress& progress) {
    quantize_folder(model, gptq_recipe("int4"), folder / "out", Existing::refuse, pool, progress,
                    dispatch::best(), &text);
  };
  Index steps = 0;
  run([&](std::string_view stage, Index done, Index total) {
    CHECK_FALSE(stage.empty());
    CHECK(done <= total);
    return ++steps > 0;
  });
  std::filesystem::remove_all(folder / "out");
  REQUIRE(steps > 4 * 3 + 7);
  for (Index last = 0; last < steps; ++last) {
    Index step = 0;
    CHECK_THROWS_AS(run([&](std::string_view, Index, Index) { return step++ < last; }), Cancelled);
    CHECK(listing(folder / ".") == before);
  }
}

}  // namespace
}  // namespace nibble
