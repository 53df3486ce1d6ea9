#include <nibble/dispatch/dispatch.hpp>
#include <nibble/model/bit_budget.hpp>
#include <nibble/model/budget_json.hpp>
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

std::uint64_t stored_bytes(const ModelFolder& model, const Recipe& recipe) {
  const QuantizedTensors tensors(model.float_tensors(), recipe);
  return PackedCheckpoint(tensor_specs(model.config()), tensors).file_size();
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
  const AnyMatrix rounded = round_to_nearest(source, make_format("int3", {32}), pool);
  const double expected =
      ((rounded.dequantize() - weights).cast<double>() * inputs.cast<double>().transpose())
          .squaredNorm();
  const double found = total_output_error(source, rounded, hessian, dispatch::best(), pool);
  // Sums of 37 float products, 50 in the Hessian's entries, whose magnitudes may cancel.
  CHECK(found == Approx(expected).epsilon(1e-4));
  CHECK(total_output_error(source, rounded, hessian, dispatch::best(), one) == found);
}

TEST_CASE("divergences are measured on windows all over the text") {
  const CalibrationText text{random_tokens(53, 410), 40, 20};
  const auto starts = [&](Index tokens, Index length) {
    std::vector<Index> found;
    for (const std::span<const TokenId> each : probe_sequences(text, tokens)) {
      CHECK(static_cast<Index>(each.size()) == length);
      found.push_back(static_cast<Index>(each.data() - text.tokens.data()));
    }
    return found;
  };
  CHECK(starts(100, 25) == std::vector<Index>{0, 80, 200, 280});
  CHECK(starts(3, 1) == std::vector<Index>{0, 120, 240});
  CHECK(starts(0, 1) == std::vector<Index>{0});
  CHECK(starts(240, 40) == std::vector<Index>{0, 40, 120, 200, 240, 320});
  CHECK(starts(100'000, 40).size() == 10);
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

TEST_CASE("a chosen recipe keeps to the size of a file and loses less with a larger one") {
  const TinyFolder folder(grouped_model());
  const ModelFolder model = folder.open();
  const auto uniform_bytes = [&](const AnyFormat& format) {
    return stored_bytes(model, Recipe::uniform(Gptq{}, format));
  };
  const std::uint64_t least = uniform_bytes(make_format("int2", {128, true}));
  const std::uint64_t most = uniform_bytes(make_format("int8"));
  const std::uint64_t one_tensor = 160 * (96 + 2);  // in int8, whose steps are the largest
  double before = std::numeric_limits<double>::infinity();
  for (const int percent : {0, 1, 20, 45, 80, 100, 300}) {
    const std::uint64_t size = least + (most - least) * static_cast<std::uint64_t>(percent) / 100;
    CAPTURE(percent, size, least, most);
    const BudgetedRecipe choice = choose(model, {.file_size = size, .method = Gptq{}});
    const std::uint64_t found = stored_bytes(model, choice.recipe);
    CHECK(found <= size);
    if (percent <= 100) CHECK(found + one_tensor >= size);
    CHECK(stored_bits(model, choice.recipe) == choice.bits_per_weight);
    CHECK(loss(choice) <= before);
    before = loss(choice);
  }
  REQUIRE_ERROR(choose(model, {.file_size = least - 1}),
                concat("a budget of ", least - 1, " bytes is too small: the smallest formats to ",
                       "choose from make a file of ", least));
}

TEST_CASE("a choice is read as it was written, and nothing else is") {
  const TinyFolder folder;
  const ModelFolder model = folder.open();
  const BudgetedRecipe choice = choose(model, {.bits_per_weight = 8, .method = Best{}});
  const nlohmann::json stored = choice_to_json(choice);
  const BudgetedRecipe again = choice_from_json(parse_json(stored.dump(), "choice"), "choice");
  CHECK(choice_to_json(again) == stored);
  REQUIRE(again.tensors.size() == choice.tensors.size());
  CHECK(loss(again) == loss(choice));
  for (const char* field : {"recipe", "bits_per_weight", "tensors"}) {
    nlohmann::json lacking = stored;
    lacking.erase(field);
    REQUIRE_ERROR(choice_from_json(lacking, "choice"),
                  concat("choice: field '", field, "': missing"));
  }
  nlohmann::json wrong = stored;
  wrong["tensors"][0]["format"] = "int5";
  REQUIRE_ERROR(choice_from_json(wrong, "choice"), "choice: field 'tensors': ");
  wrong["tensors"] = 7;
  REQUIRE_ERROR(choice_from_json(wrong, "choice"), "expected an array, found 7");
  REQUIRE_ERROR(choice_from_json(nlohmann::json::array(), "choice"), "choice: expected an object");
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

TEST_CASE("weights that a candidate cannot hold, or that are kept, do not stop a choice") {
  TinyModel tiny = grouped_model();
  tiny.edit = [](TensorLayout& layout, std::vector<float>& values) {
    // Beyond what float16 scales of int2 reach, or those of any candidate.
    if (layout.name == "model.layers.0.self_attn.q_proj.weight") values[5] = 3e5F;
    if (layout.name == "model.layers.0.self_attn.k_proj.weight") values[5] = 1e8F;
    return true;
  };
  const TinyFolder folder(tiny);
  const ModelFolder model = folder.open();
  REQUIRE_ERROR(choose(model, {.bits_per_weight = 20}),
                "tensor 'model.layers.0.self_attn.k_proj.weight': a group's scale");
  const Recipe fixed{{{"*.0.*.k_proj.weight", true, {}, {}}}};
  const BudgetedRecipe choice = choose(model, {.bits_per_weight = 6}, fixed);
  REQUIRE(choice.tensors.size() == 13);
  CHECK(describe_format(choice.tensors[0].format).find("int2") != 0);
  ThreadPool pool(1);
  CHECK_NOTHROW(quantized(model, choice.recipe, pool));
  const BitBudget int2_alone{.bits_per_weight = 20,
                             .candidates = {make_format("int2", {32, true})}};
  REQUIRE_ERROR(choose(model, int2_alone, fixed), "q_proj.weight': a group's scale");
}

TEST_CASE("a tensor that the probed format holds exactly is measured in another") {
  TinyModel tiny = grouped_model();
  tiny.edit = [](TensorLayout& layout, std::vector<float>& values) {
    if (layout.name != "model.layers.1.self_attn.v_proj.weight") return true;
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>(i * 7 % 16) / 64;  // sixteen levels in every group
    }
    return true;
  };
  const TinyFolder folder(tiny);
  const ModelFolder model = folder.open();
  const BudgetedRecipe choice = choose(
      model, {.bits_per_weight = 10,
              .candidates = {make_format("int2", {32, true}), make_format("int4", {32, true})}});
  for (const BudgetedTensor& tensor : choice.tensors) {
    CAPTURE(tensor.tensor);
    CHECK(describe_format(tensor.format) == "int4 g32 asymmetric");
    const bool exact = tensor.tensor == "model.layers.1.self_attn.v_proj.weight";
    CHECK((tensor.kl_divergence == 0) == exact);
  }
}

TEST_CASE("budgets that cannot be are refused") {
  const TinyFolder folder;
  const ModelFolder model = folder.open();
  REQUIRE_ERROR(choose(model, {.bits_per_weight = 1}),
                "a budget of 1 bits per weight is too small: the smallest formats to choose");
  REQUIRE_ERROR(choose(model, {.bits_per_weight = std::nan("")}), "bits per weight, found nan");
  REQUIRE_ERROR(choose(model, {.bits_per_weight = std::numeric_limits<double>::infinity()}),
                "bits per weight, found inf");
  REQUIRE_ERROR(choose(model, {.bits_per_weight = -1e300}), "too small");
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
