#include <nibble/model/input_maker.hpp>

#include <nibble/model/tensor_overlay.hpp>

#include "support/catch.hpp"
#include "support/random.hpp"
#include "support/tiny_model.hpp"

namespace nibble {
namespace {

using namespace test;

/// Linears whose inputs one tensor makes.
struct ScaledGroup {
  std::vector<std::string> linears;
  std::string maker;
  bool attention;  // inputs as wide as the query heads
};

const std::vector<ScaledGroup> scaled_groups{
    {{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, "input_layernorm", false},
    {{"self_attn.o_proj"}, "self_attn.v_proj", true},
    {{"mlp.gate_proj", "mlp.up_proj"}, "post_attention_layernorm", false},
    {{"mlp.down_proj"}, "mlp.up_proj", false}};

/// The logits of a model in which the inputs of one group of Linears in every layer are scaled are
/// those of the model as it is: but for rounding, or exactly where a Linear makes the inputs.
void check_scaling(const ModelFolder& model, const ScaledGroup& group) {
  ThreadPool pool(2);
  const ModelConfig& config = model.config();
  std::map<std::string, TensorSpec> specs;
  for (const TensorSpec& spec : tensor_specs(config)) specs[spec.name] = spec;
  TensorOverlay plain(&model.float_tensors());
  TensorOverlay scaled(&model.float_tensors());
  test::Random random(5);
  Index changed = 0;
  for (Index layer = 0; layer < config.layers; ++layer) {
    const TensorSpec& weight = specs.at(layer_tensor_name(layer, group.maker + ".weight"));
    const auto bias = specs.find(layer_tensor_name(layer, group.maker + ".bias"));
    const Index inputs = specs.at(layer_tensor_name(layer, group.linears[0] + ".weight")).cols;
    const InputMaker maker(weight, bias == specs.end() ? nullptr : &bias->second, inputs,
                           config.head_dim);
    if (maker.is_linear()) {
      plain.replace(weight.name, round_to_nearest(model.float_tensors().source(weight),
                                                  AnyFormat(GroupInt<8>{}), pool));
    }
    Eigen::VectorXd magnitudes(inputs);
    for (double& each : magnitudes) each = std::exp2(random_floats(random, 1).front());
    const std::vector<float> scales =
        scales_from(maker.shared(magnitudes), maker.limits(plain, pool), 1);
    for (const float scale : scales) changed += scale != 1;
    maker.divide(plain, scales, pool,
                 [&](const std::string& name, auto tensor) { scaled.replace(name, tensor); });
    for (const std::string& linear : group.linears) {
      const TensorSpec& spec = specs.at(layer_tensor_name(layer, linear + ".weight"));
      const WeightSource source = model.float_tensors().source(spec);
      plain.replace(spec.name, pack_floats(source, Float32Format{}, pool));
      scaled.replace(spec.name, pack_floats(scale_columns(source, scales), Float32Format{}, pool));
    }
  }
  CHECK(changed > config.layers);
  const std::vector<TokenId> ids = random_tokens(config.vocab_size, 40);
  const Matrix expected = logits_of(decoder_of(config, plain, pool), ids, pool, exact_run);
  const Matrix found = logits_of(decoder_of(config, scaled, pool), ids, pool, exact_run);
  if (group.maker.find("norm") == std::string::npos) {
    CHECK(same_bits(found, expected));
  } else {
    CHECK((found - expected).cwiseAbs().maxCoeff() <=
          1e-4F * std::sqrt(expected.squaredNorm() / static_cast<float>(expected.size())));
    CHECK_FALSE(same_bits(found, expected));
  }
}

TEST_CASE("what makes the inputs of Linears takes up their scales, in every kind of model") {
  using nlohmann::json;
  for (const json& patch :
       {json::object(), json{{"num_key_value_heads", 4}, {"attention_bias", true}},
        json{{"num_key_value_heads", 1}, {"mlp_bias", true}}, json{{"model_type", "qwen2"}},
        json{{"model_type", "qwen3"}, {"tie_word_embeddings", true}},
        json{{"model_type", "mistral"}, {"sliding_window", 7}}}) {
    const TinyFolder folder({.patch = patch});
    const ModelFolder model = folder.open();
    for (const ScaledGroup& group : scaled_groups) {
      CAPTURE(patch.dump(), group.maker);
      check_scaling(model, group);
    }
  }
}

TEST_CASE("what makes the inputs of Linears takes up their scales in models of transformers") {
  NIBBLE_REQUIRE_FIXTURES(fixtures);
  for (const char* name :
       {"llama-mha-bias", "llama3-rope-untied", "mistral-sliding", "qwen2", "qwen3"}) {
    const ModelFolder model(fixtures / "models" / "zoo" / name);
    for (const ScaledGroup& group : scaled_groups) {
      CAPTURE(name, group.maker);
      check_scaling(model, group);
    }
  }
}

TEST_CASE("inputs that one head of values makes are scaled together") {
  const TensorSpec weight{"v", TensorRole::Linear, 4, 3};  // two heads of two
  const InputMaker maker(weight, nullptr, 12, 2);          // for three query heads each
  Eigen::VectorXd magnitudes(12);
  magnitudes << 1, 2, 3, 4, 5, 9, 10, 20, 30, 40, 50, 90;
  Eigen::VectorXd expected(12);
  expected << 3, 5, 3, 5, 3, 5, 30, 50, 30, 50, 30, 50;
  CHECK(maker.shared(magnitudes).isApprox(expected, 1e-15));
  const TensorSpec norm{"norm", TensorRole::Vector, 1, 12};
  CHECK(InputMaker(norm, nullptr, 12, 2).shared(magnitudes) == magnitudes);
}

}  // namespace
}  // namespace nibble
