// Calibration with scaled inputs: AWQ, and GPTQ after AWQ's scaling.

#include <nibble/dispatch/dispatch.hpp>
#include <nibble/model/quantize_model.hpp>

#include "support/catch.hpp"
#include "support/tiny_model.hpp"

namespace nibble {
namespace {

using namespace test;

CalibrationText scaling_text(const ModelFolder& model) {
  return {random_tokens(model.config().vocab_size, 400, 1), 40, 10};
}

CalibratedTensors scaled(const ModelFolder& model, const Recipe& recipe, int threads = 2) {
  ThreadPool pool(threads);
  const CalibrationText text = scaling_text(model);
  return calibrate(model.config(), model.float_tensors(), recipe, &text, pool, {},
                   dispatch::best());
}

/// Norms with channels of very different size, so that scales pay.
TinyModel uneven_model(const nlohmann::json& patch = nlohmann::json::object()) {
  return {.patch = patch, .edit = [](TensorLayout& layout, std::vector<float>& values) {
            if (layout.name.ends_with("layernorm.weight")) {
              for (std::size_t i = 0; i < values.size(); i += 5) values[i] *= 8;
            }
            return true;
          }};
}

double exponent_of(const CalibratedTensors& tensors, const std::string& part) {
  for (const TensorReport& report : tensors.reports) {
    if (report.tensor == concat("model.layers.1.", part, ".weight")) {
      return report.calibration.exponent;
    }
  }
  return -1;
}

TEST_CASE("AWQ scales, folds and rounds for the inputs that the quantized model makes") {
  // Logits that are the hidden state: the identity as head.
  TinyModel tiny = uneven_model({{"vocab_size", 24}});
  tiny.edit = [edit = tiny.edit](TensorLayout& layout, std::vector<float>& values) {
    if (layout.name == "lm_head.weight") {
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = i % 25 == 0 ? 1.0F : 0.0F;
    }
    return edit(layout, values);
  };
  const TinyFolder folder(tiny);
  const ModelFolder model = folder.open();
  const AnyFormat format = make_format("int3", {32, true});
  const Recipe recipe = Recipe::uniform(Awq{}, format);
  const CalibratedTensors found = scaled(model, recipe);
  REQUIRE(found.matrices.size() == 14);
  REQUIRE(found.reports.size() == 14);
  double error = 0;
  double nearest_error = 0;
  for (const TensorReport& report : found.reports) {
    CHECK(report.method == "awq");
    error += report.calibration.error;
    nearest_error += report.calibration.nearest_error;
  }
  CHECK(error < nearest_error);

  // The first layer of the quantized model, the second one's norm as it was and the identity: the
  // inputs of the second layer's q, k and v, before scales.
  ThreadPool pool(2);
  ModelConfig first = model.config();
  first.layers = 1;
  first.sliding_windows.resize(1);
  const std::string norm_name = "model.layers.1.input_layernorm.weight";
  const TensorSpec norm{norm_name, TensorRole::Vector, 1, 24};
  TensorOverlay tensors(&model.float_tensors());
  for (const auto& [name, matrix] : found.matrices) tensors.replace(name, matrix);
  for (const auto& [name, vector] : found.vectors) tensors.replace(name, vector);
  const std::vector<float> norm_weight = model.float_tensors().vector(norm);
  tensors.replace(final_norm_name, norm_weight);
  const Decoder decoder = decoder_of(first, tensors, pool);
  Eigen::MatrixXd hessian = Eigen::MatrixXd::Zero(24, 24);
  Eigen::VectorXd magnitudes = Eigen::VectorXd::Zero(24);
  const CalibrationText text = scaling_text(model);
  for (Index window = 0; window < 10; ++window) {
    const std::span<const TokenId> tokens(text.tokens.data() + window * 40, 40);
    const Eigen::MatrixXd x = logits_of(decoder, tokens, pool, exact_run).cast<double>();
    hessian += x.transpose() * x;
    magnitudes += x.cwiseAbs().colwise().sum().transpose() / 400;
  }
  std::vector<TensorSpec> specs;
  std::vector<LinearOnGrid> linears;
  for (const TensorSpec& spec : tensor_specs(model.config())) {
    for (const char* part : {"q_proj", "k_proj", "v_proj"}) {
      if (spec.name != concat("model.layers.1.self_attn.", part, ".weight")) continue;
      specs.push_back(spec);
      linears.push_back({model.float_tensors().source(spec), format});
    }
  }
  const ChannelScales scales = search_channel_scales(
      linears, hessian, magnitudes, {std::vector<ScaleLimits::Range>(24), false}, pool);
  CHECK(scales.exponent > 0);
  CHECK(exponent_of(found, "self_attn.q_proj") == scales.exponent);
  const std::vector<float>& folded = found.vectors.at(norm_name);
  for (std::size_t i = 0; i < 24; ++i) {
    CHECK(folded[i] == Approx(norm_weight[i] / scales.scales[i]).epsilon(1e-5));
  }
  // With exactly those scales that were folded.
  InputStatistics statistics{hessian, {}};
  divide_inputs(statistics, scales.scales);
  for (std::size_t i = 0; i < 2; ++i) {  // v has been divided by o's scales since
    const CalibratedMatrix expected = quantize_awq(scale_columns(linears[i].source, scales.scales),
                                                   format, statistics, Awq{}, pool);
    const Matrix weights = expected.matrix.dequantize();
    const Matrix difference = found.matrices.at(specs[i].name).dequantize() - weights;
    // The means were added up in another order: a scale may differ in its last bits.
    CHECK(difference.norm() <= 1e-3F * weights.norm());
  }
}

TEST_CASE("scaled tensors are the same on any number of threads, in memory and in files") {
  for (const nlohmann::json& patch :
       {nlohmann::json{{"attention_bias", true}, {"mlp_bias", true}},
        nlohmann::json{{"model_type", "qwen2"}}, nlohmann::json{{"model_type", "qwen3"}}}) {
    CAPTURE(patch.dump());
    const TinyFolder folder(uneven_model(patch));
    const ModelFolder model = folder.open();
    const Recipe recipe = Recipe::uniform(Awq{}, make_format("int4", {32, true}));
    const CalibratedTensors one = scaled(model, recipe, 1);
    const CalibratedTensors three = scaled(model, recipe, 3);
    CHECK(one.vectors == three.vectors);
    CHECK(one.vectors.contains("model.layers.0.input_layernorm.weight"));
    for (const auto& [name, matrix] : one.matrices) {
      CHECK(std::ranges::equal(matrix.bytes(), three.matrices.at(name).bytes()));
    }
    ThreadPool pool(2);
    const CalibrationText text = scaling_text(model);
    quantize_folder(model, recipe, folder / "out", Existing::refuse, pool, {}, dispatch::best(),
                    &text);
    const Decoder in_memory = quantize_model(model, recipe, pool, {}, dispatch::best(), &text);
    const std::vector<TokenId> ids = random_tokens(53, 30);
    const ModelFolder packed(folder / "out");
    CHECK(same_bits(logits_of(loaded(packed, pool), ids, pool), logits_of(in_memory, ids, pool)));
  }
}

TEST_CASE("with enough bits a scaled model is the model, whatever its biases and norms") {
  for (const nlohmann::json& patch :
       {nlohmann::json{{"attention_bias", true}, {"num_key_value_heads", 1}},
        nlohmann::json{{"mlp_bias", true}}, nlohmann::json{{"model_type", "qwen2"}},
        nlohmann::json{{"model_type", "qwen3"}}}) {
    CAPTURE(patch.dump());
    const TinyFolder folder(uneven_model(patch));
    const ModelFolder model = folder.open();
    ThreadPool pool(2);
    const CalibrationText text = scaling_text(model);
    const std::vector<TokenId> ids = random_tokens(53, 30);
    const Matrix exact = logits_of(loaded(model, pool), ids, pool, exact_run);
    const auto distance = [&](const AnyQuantizer& method) {
      const Recipe recipe = Recipe::uniform(method, make_format("int8", {32}));
      const Decoder decoder = quantize_model(model, recipe, pool, {}, dispatch::best(), &text);
      return (logits_of(decoder, ids, pool, exact_run) - exact).norm() / exact.norm();
    };
    // What is scaled wrongly is wrong altogether; eight bits without scales are this near.
    const float plain = distance(RoundToNearest{});
    CHECK(distance(Awq{}) < 1.5F * plain);
    Gptq gptq;
    gptq.scaling = true;
    CHECK(distance(gptq) < 1.5F * plain);
    Best best;
    best.scaling = true;
    CHECK(distance(best) < 1.5F * plain);
  }
}

TEST_CASE("inputs are scaled only where all that share them, and what makes them, ask for it") {
  const TinyFolder folder(uneven_model());
  const ModelFolder model = folder.open();
  const AnyFormat format = make_format("int3", {32});
  const auto with_rule = [&](const RecipeRule& rule) {
    return scaled(model, {{rule, {std::string(decoder_linears), false, Awq{}, format}}});
  };
  const CalibratedTensors all = scaled(model, Recipe::uniform(Awq{}, format));
  CHECK(exponent_of(all, "self_attn.q_proj") > 0);
  CHECK(exponent_of(all, "mlp.up_proj") > 0);
  CHECK(exponent_of(all, "self_attn.q_proj") == exponent_of(all, "self_attn.v_proj"));

  const CalibratedTensors kept_v = with_rule({"*.1.self_attn.v_proj.weight", true, {}, {}});
  CHECK(exponent_of(kept_v, "self_attn.q_proj") == 0);
  CHECK(exponent_of(kept_v, "self_attn.o_proj") == 0);
  CHECK(exponent_of(kept_v, "mlp.up_proj") > 0);
  CHECK_FALSE(kept_v.matrices.contains("model.layers.1.self_attn.v_proj.weight"));
  CHECK_FALSE(kept_v.vectors.contains("model.layers.1.input_layernorm.weight"));

  const CalibratedTensors rounded_gate =
      with_rule({"*.1.mlp.gate_proj.weight", false, RoundToNearest{}, format});
  CHECK(exponent_of(rounded_gate, "mlp.up_proj") == 0);
  CHECK(exponent_of(rounded_gate, "self_attn.q_proj") > 0);

  const CalibratedTensors floats =
      with_rule({"*.1.mlp.up_proj.weight", false, Awq{}, make_format("bfloat16", {})});
  CHECK(exponent_of(floats, "mlp.gate_proj") == 0);
  CHECK(exponent_of(floats, "mlp.down_proj") == 0);

  const CalibratedTensors unscaled = scaled(model, Recipe::uniform(Awq{.scaling = false}, format));
  CHECK(unscaled.vectors.empty());
  CHECK(exponent_of(unscaled, "self_attn.q_proj") == 0);
}

TEST_CASE("inputs that are not finite are refused by name before scales are searched") {
  const TinyFolder folder({.edit = [](TensorLayout& layout, std::vector<float>& values) {
    if (layout.name == "model.layers.1.post_attention_layernorm.weight") values[5] = 1e30F;
    return true;
  }});
  const ModelFolder model = folder.open();
  CHECK_THROWS_WITH(
      scaled(model, Recipe::uniform(Awq{}, make_format("int4", {}))),
      Catch::Matchers::ContainsSubstring("tensor 'model.layers.1.mlp.gate_proj.weight': input 5"));
}

}  // namespace
}  // namespace nibble
