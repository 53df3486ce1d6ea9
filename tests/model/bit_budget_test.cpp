#include <nibble/dispatch/dispatch.hpp>
#include <nibble/model/bit_budget.hpp>
#include <nibble/model/packed_checkpoint.hpp>
#include <nibble/model/quantize_model.hpp>

#include "io/io_test_support.hpp"
#include "support/random.hpp"
#include "support/tiny_model.hpp"

namespace nibble {
namespace {

using namespace test;

/// Wide enough that groups of 32 and 64 differ.
TinyModel grouped_model() {
  return {.patch = {{"hidden_size", 96}, {"intermediate_size", 160}}};
}

BudgetedRecipe choose(const ModelFolder& model, const BitBudget& budget, const Recipe& fixed = {},
                      int threads = 2, Index tokens = 130) {
  ThreadPool pool(threads);
  const CalibrationText text{random_tokens(53, tokens), 40, 3};
  return choose_formats(model.config(), model.float_tensors(), fixed, text, budget, pool, {},
                        dispatch::best());
}

double stored_bits(const ModelFolder& model, const Recipe& recipe) {
  const QuantizedTensors tensors(model.float_tensors(), recipe);
  return PackedCheckpoint(tensor_specs(model.config()), tensors).bits_per_weight();
}

double loss(const BudgetedRecipe& choice) {
  double sum = 0;
  for (const BudgetedTensor& tensor : choice.tensors) sum += tensor.kl_divergence;
  return sum;
}

TEST_CASE("output errors are the squared changes of outputs") {
  test::Random random(1);
  const auto normal = [&](Index rows, Index cols) {
    const std::vector<float> values = random_floats(random, rows * cols);
    return Matrix(view_matrix(values.data(), rows, cols));
  };
  const Matrix weights = normal(70, 37);
  const Matrix inputs = normal(50, 37);
  ThreadPool pool(2), one(1);
  const Eigen::MatrixXd sums = (inputs.transpose() * inputs).cast<double>();
  const Linear hessian = hessian_linear(sums, pool);
  const WeightSource source = weight_source("w", weights);
  const AnyMatrix rounded = RoundToNearest{}.quantize(source, make_format("int3", {32}), pool);
  const double expected =
      ((rounded.dequantize() - weights).cast<double>() * inputs.cast<double>().transpose())
          .squaredNorm();
  const double found = output_error(source, rounded, hessian, dispatch::best(), pool);
  // Sums of 37 float products, 50 in the Hessian's entries, whose magnitudes may cancel.
  CHECK(found == Approx(expected).epsilon(1e-4));
  CHECK(output_error(source, rounded, hessian, dispatch::best(), one) == found);
}

TEST_CASE("a chosen recipe keeps to its budget and loses less with a larger one") {
  const TinyFolder folder(grouped_model());
  const ModelFolder model = folder.open();
  double before = std::numeric_limits<double>::infinity();
  for (const double bits : {3.0, 3.6, 4.5, 6.0, 20.0}) {
    CAPTURE(bits);
    const BudgetedRecipe choice = choose(model, {.bits_per_weight = bits, .method = Gptq{}});
    CHECK(choice.bits_per_weight <= bits);
    CHECK(stored_bits(model, choice.recipe) == Approx(choice.bits_per_weight).epsilon(1e-12));
    REQUIRE(choice.tensors.size() == 14);
    REQUIRE(choice.recipe.rules.size() == 14);
    for (const RecipeRule& rule : choice.recipe.rules) {
      CHECK(std::holds_alternative<Gptq>(rule.method));
    }
    const nlohmann::json chosen = recipe_to_json(choice.recipe);
    CHECK(recipe_to_json(parse_recipe(chosen, "recipe")) == chosen);
    CHECK(loss(choice) < before);
    before = loss(choice);
    if (bits == 20) {
      for (const BudgetedTensor& tensor : choice.tensors) {
        CHECK(describe_format(tensor.format) == describe_format(make_format("int8")));
      }
    } else if (bits > 3) {
      CHECK(choice.bits_per_weight > bits - 0.3);
    }
    if (bits != 3.6) continue;
    CHECK(recipe_to_json(
              choose(model, {.bits_per_weight = bits, .method = Gptq{}}, {}, 1).recipe) == chosen);
  }
}

TEST_CASE("bits go to the tensors that matter, and rules that are given stand") {
  TinyModel tiny = grouped_model();
  tiny.edit = [](TensorLayout& layout, std::vector<float>& values) {
    // Nothing of this block's feed-forward layer reaches the outputs.
    if (layout.name == "model.layers.0.mlp.gate_proj.weight") std::ranges::fill(values, 0.0F);
    return true;
  };
  const TinyFolder folder(tiny);
  const ModelFolder model = folder.open();
  const Recipe fixed{{{"*.1.*.q_proj.weight", true, {}, {}},
                      {"*.1.*.k_proj.weight", false, RoundToNearest{}, make_format("int8")}}};
  const BudgetedRecipe choice = choose(model, {.bits_per_weight = 9, .method = Gptq{}}, fixed);
  CHECK(choice.bits_per_weight <= 9);
  CHECK(stored_bits(model, choice.recipe) == Approx(choice.bits_per_weight).epsilon(1e-12));
  CHECK(choice.tensors.size() == 12);
  REQUIRE(choice.recipe.rules.size() == 14);
  CHECK(choice.recipe.find("model.layers.1.self_attn.q_proj.weight") == nullptr);
  CHECK(std::holds_alternative<RoundToNearest>(choice.recipe.rules[1].method));
  for (const BudgetedTensor& tensor : choice.tensors) {
    const bool idle = tensor.tensor.find(".0.mlp.") != std::string::npos;
    CAPTURE(tensor.tensor);
    CHECK((tensor.kl_divergence == 0) == idle);
    if (idle) CHECK(describe_format(tensor.format).find("int2") == 0);
  }
}

TEST_CASE("budgets that cannot be are refused") {
  const TinyFolder folder;
  const ModelFolder model = folder.open();
  REQUIRE_ERROR(choose(model, {.bits_per_weight = 1}),
                "a budget of 1 bits per weight is too small: the smallest formats to choose");
  REQUIRE_ERROR(choose(model, {.bits_per_weight = std::nan("")}), "too small");
  REQUIRE_ERROR(choose(model, {.candidates = {}}), "no candidates");
  REQUIRE_ERROR(choose(model, {}, {{{"*_proj.weight", true, {}, {}}}}), "leave no tensor");
  REQUIRE_ERROR(choose(model, {}, {}, 1, 39), "less than a window of 40");
  const TinyFolder broken({.edit = [](TensorLayout& layout, std::vector<float>& values) {
    if (layout.name == "model.layers.1.post_attention_layernorm.weight") values[5] = 1e30F;
    return true;
  }});
  REQUIRE_ERROR(choose(broken.open(), {.bits_per_weight = 40}),
                "tensor 'model.layers.1.mlp.gate_proj.weight': its inputs are infinite");
}

}  // namespace
}  // namespace nibble
