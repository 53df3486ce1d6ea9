#include <nibble/model/recipe.hpp>

#include "io/io_test_support.hpp"
#include "support/matrices.hpp"
#include "support/tiny_model.hpp"

namespace nibble {
namespace {

using namespace test;

Recipe parse_rules(std::string_view text) {
  return parse_recipe(parse_json(text, "r.json"), "r.json");
}

TEST_CASE("globs match whole names, with * for any run and ? for any character") {
  CHECK(glob_matches("", ""));
  CHECK_FALSE(glob_matches("", "a"));
  CHECK(glob_matches("*", ""));
  CHECK(glob_matches("**", "anything"));
  CHECK(glob_matches("a.b", "a.b"));
  CHECK_FALSE(glob_matches("a.b", "a.bc"));
  CHECK_FALSE(glob_matches("a.b", "xa.b"));
  CHECK_FALSE(glob_matches("a.b", "axb"));  // a dot is a dot
  CHECK(glob_matches("?", "a"));
  CHECK_FALSE(glob_matches("?", ""));
  CHECK_FALSE(glob_matches("?", "ab"));
  CHECK(glob_matches("a*b?d", "axxbcbcd"));
  CHECK(glob_matches("*ab*ab", "abab"));
  CHECK_FALSE(glob_matches("*ab*ab", "ab"));
  CHECK(glob_matches("model.layers.*.mlp.*_proj.weight", "model.layers.10.mlp.up_proj.weight"));
  CHECK_FALSE(glob_matches("model.layers.1.*", "model.layers.10.mlp.up_proj.weight"));
  CHECK_FALSE(glob_matches("[a]", "a"));  // no sets
  CHECK(glob_matches("[a]", "[a]"));
}

TEST_CASE("globs agree with the recursive definition") {
  struct Plain {
    static bool matches(std::string_view pattern, std::string_view name) {
      if (pattern.empty()) return name.empty();
      if (pattern[0] == '*') {
        return matches(pattern.substr(1), name) ||
               (!name.empty() && matches(pattern, name.substr(1)));
      }
      return !name.empty() && (pattern[0] == '?' || pattern[0] == name[0]) &&
             matches(pattern.substr(1), name.substr(1));
    }
  };
  test::Random random(3);
  const auto text = [&](std::string_view letters, int longest) {
    const auto last = static_cast<int>(letters.size()) - 1;
    std::string result(static_cast<std::size_t>(random_integer(random, 0, longest)), ' ');
    for (char& c : result) c = letters[static_cast<std::size_t>(random_integer(random, 0, last))];
    return result;
  };
  int matches = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::string pattern = text("ab*?", 7), name = text("ab", 8);
    const bool expected = Plain::matches(pattern, name);
    matches += expected ? 1 : 0;
    if (glob_matches(pattern, name) != expected) {
      CAPTURE(pattern, name);
      FAIL("differs");
    }
  }
  CHECK(matches > 1000);
}

TEST_CASE("a glob takes no more than the product of the lengths") {
  const std::string name(5000, 'a');
  std::string pattern;
  for (int i = 0; i < 1000; ++i) pattern += "*a";
  CHECK_FALSE(glob_matches(pattern + "b", name));
  CHECK(glob_matches(pattern, name));
}

TEST_CASE("the first rule that matches decides, and where none does a tensor stays as it is") {
  const Recipe recipe = parse_rules(R"({"rules": [
    {"tensors": "*.0.*", "keep": true},
    {"tensors": "*.q_proj.*", "format": "int8"},
    {"tensors": "*_proj.weight", "format": "int4", "group": 32, "asymmetric": true}]})");
  REQUIRE(recipe.rules.size() == 3);
  CHECK(recipe.find("model.layers.0.self_attn.q_proj.weight") == nullptr);
  CHECK(recipe.find("model.layers.1.self_attn.q_proj.weight") == &recipe.rules[1]);
  CHECK(recipe.find("model.layers.1.self_attn.k_proj.weight") == &recipe.rules[2]);
  CHECK(recipe.find("lm_head.weight") == nullptr);
  CHECK(describe_format(recipe.rules[2].format) == "int4 g32 asymmetric");
}

TEST_CASE("a uniform recipe takes every Linear of the blocks and nothing else") {
  const TinyFolder folder({.patch = {{"attention_bias", true}, {"mlp_bias", true}}});
  const Recipe recipe = uniform_recipe("int8");
  for (const TensorSpec& spec : tensor_specs(folder.open().config())) {
    CAPTURE(spec.name);
    CHECK((recipe.find(spec.name) != nullptr) == (spec.role == TensorRole::Linear));
  }
}

TEST_CASE("a recipe survives JSON, every format and option") {
  Recipe recipe;
  for (const AnyFormat& format : all_formats()) {
    recipe.rules.push_back({describe_format(format), false, RoundToNearest{}, format});
  }
  recipe.rules.push_back({"lm_head.*", true, {}, {}});
  const nlohmann::json written = recipe_to_json(recipe);
  const Recipe again = parse_rules(written.dump());
  REQUIRE(again.rules.size() == recipe.rules.size());
  for (std::size_t i = 0; i < recipe.rules.size(); ++i) {
    CHECK(again.rules[i].tensors == recipe.rules[i].tensors);
    CHECK(again.rules[i].keep == recipe.rules[i].keep);
    if (!recipe.rules[i].keep) CHECK(again.rules[i].format == recipe.rules[i].format);
  }
  CHECK(recipe_to_json(again) == written);
}

TEST_CASE("a rule has its defaults, and a whole row can be asked for") {
  const auto format = [](const char* fields) {
    return describe_format(
        parse_rules(concat(R"({"rules": [{"tensors": "*", )", fields, "}]}")).rules[0].format);
  };
  CHECK(format(R"("format": "int4")") == "int4 g128");
  CHECK(format(R"("format": "int4", "group": 0)") == "int4");
  CHECK(format(R"("format": "int8", "method": "rtn")") == "int8");
  CHECK(format(R"("format": "zero-one-int8", "per_tensor": true)") == "zero-one-int8 per tensor");
  CHECK(format(R"("format": "float16", "keep": false, "group": 0)") == "float16");
}

TEST_CASE("broken recipes are refused by name") {
  REQUIRE_ERROR(parse_rules("[]"), "r.json: expected an object, found an array");
  REQUIRE_ERROR(parse_rules("{}"), "r.json: field 'rules': missing");
  REQUIRE_ERROR(parse_rules(R"({"rules": [], "rule": 1})"), "r.json: unknown field \"rule\"");
  REQUIRE_ERROR(parse_rules(R"({"rules": {}})"), "r.json: field 'rules': expected an array");
  const auto rule = [](const char* text) {
    return parse_rules(concat(R"({"rules": [{"tensors": "a", "keep": true}, )", text, "]}"));
  };
  const std::string where = "r.json: field 'rules' element 1: ";
  REQUIRE_ERROR(rule("3"), where + "expected an object, found");
  REQUIRE_ERROR(rule(R"({"format": "int4"})"), where + "field 'tensors': missing");
  REQUIRE_ERROR(rule(R"({"tensors": 5, "format": "int4"})"), where + "field 'tensors': expected");
  REQUIRE_ERROR(rule(R"({"tensors": "*"})"), where + "field 'format': missing");
  REQUIRE_ERROR(rule(R"({"tensors": "*", "keep": false})"), where + "field 'format': missing");
  REQUIRE_ERROR(rule(R"({"tensors": "*", "format": "int5"})"),
                where + "unknown format 'int5'; expected one of: float32");
  REQUIRE_ERROR(rule(R"({"tensors": "*", "format": "int4", "method": "magic"})"),
                where + "unknown method 'magic'; expected one of: rtn");
  REQUIRE_ERROR(rule(R"({"tensors": "*", "format": "int4", "group": 48})"),
                where + "format int4: group size 48");
  REQUIRE_ERROR(rule(R"({"tensors": "*", "format": "int4", "group": -32})"), "group size -32");
  REQUIRE_ERROR(rule(R"({"tensors": "*", "format": "int4", "group": 1e300})"), "field 'group'");
  REQUIRE_ERROR(rule(R"({"tensors": "*", "format": "float16", "group": 32})"),
                where + "format float16 has no groups");
  REQUIRE_ERROR(rule(R"({"tensors": "*", "format": "zero-one-int8", "asymmetric": true})"),
                where + "format zero-one-int8 is never asymmetric");
  REQUIRE_ERROR(rule(R"({"tensors": "*", "format": "int4", "per_tensor": true})"),
                where + "format int4 has no range per tensor");
  REQUIRE_ERROR(rule(R"({"tensors": "*", "format": "int4", "groups": 32})"),
                where + "unknown field \"groups\"");
  REQUIRE_ERROR(rule(R"({"tensors": "*", "keep": true, "format": "int4"})"),
                where + "\"keep\" goes with \"tensors\" alone");
  REQUIRE_ERROR(rule(R"({"tensors": "*", "keep": 1})"), where + "field 'keep'");
}

TEST_CASE("a method's options are read, written and checked") {
  const auto rule = [](const std::string& options) {
    return parse_recipe(nlohmann::json::parse(concat(
                            R"({"rules": [{"tensors": "*", "format": "int4", )", options, "}]}")),
                        "r");
  };
  const Recipe recipe = rule(
      R"("method": "best", "options": {"correction": 0.5, "act_order": false, "refinements": 2})");
  const auto& best = std::get<Best>(recipe.rules[0].method);
  CHECK(best ==
        Gptq{.act_order = false, .search_grids = true, .correction = 0.5, .refinements = 2});
  const Recipe again = parse_recipe(recipe_to_json(recipe), "again");
  CHECK(std::get<Best>(again.rules[0].method) == best);
  CHECK(std::get<Gptq>(rule(R"("method": "gptq")").rules[0].method) == Gptq{});

  const Recipe awq = rule(R"("method": "awq", "options": {"clip": false})");
  CHECK(std::get<Awq>(awq.rules[0].method) == Awq{.clip = false});
  const Recipe scaled = rule(R"("method": "gptq", "options": {"scaling": true})");
  CHECK(std::get<Gptq>(scaled.rules[0].method) == Gptq{.scaling = true});
  REQUIRE_ERROR(rule(R"("method": "awq", "options": {"damping": 0.1})"),
                "method awq has no option \"damping\"");

  REQUIRE_ERROR(rule(R"("options": {"damping": 0.1})"), "method rtn has no option \"damping\"");
  REQUIRE_ERROR(rule(R"("method": "gptq", "options": {"dumping": 0.1})"),
                "method gptq has no option \"dumping\"");
  REQUIRE_ERROR(rule(R"("method": "gptq", "options": {"damping": 2})"), "from 0 to 1");
  REQUIRE_ERROR(rule(R"("method": "gptq", "options": {"damping": true})"), "field 'damping'");
  REQUIRE_ERROR(rule(R"("method": "gptq", "options": {"refinements": -1})"), "field 'refinements'");
  REQUIRE_ERROR(rule(R"("method": "gptq", "options": [1])"), "expected an object");
}

TEST_CASE("a recipe file is read, and its errors name it") {
  const TemporaryDirectory directory;
  write_text_file(directory / "good.json", R"({"rules": [{"tensors": "*", "format": "int3"}]})");
  CHECK(read_recipe(directory / "good.json").rules.size() == 1);
  write_text_file(directory / "bad.json", R"({"rules": [)");
  REQUIRE_ERROR(read_recipe(directory / "bad.json"), "bad.json");
  REQUIRE_ERROR(read_recipe(directory / "none.json"), "none.json");
}

TEST_CASE("a rule that matches no matrix of the model is refused") {
  const TinyFolder folder({.patch = {{"tie_word_embeddings", true}}});
  const ModelFolder model = folder.open();
  ThreadPool pool(1);
  for (const char* pattern : {"model.layers.7.*", "lm_head.weight", "model.norm.weight",
                              "*input_layernorm*", "", "q_proj"}) {
    CAPTURE(pattern);
    const Recipe recipe{
        {{"*_proj.weight", false, RoundToNearest{}, make_format("int8")}, {pattern, true, {}, {}}}};
    REQUIRE_ERROR(quantized(model, recipe, pool),
                  concat("recipe: no matrix of the model matches \"", pattern, "\""));
    REQUIRE_ERROR(quantize_folder(model, recipe, folder / "out", Existing::refuse, pool),
                  concat("recipe: no matrix of the model matches \"", pattern, "\""));
  }
  CHECK_FALSE(std::filesystem::exists(folder / "out"));
}

}  // namespace
}  // namespace nibble
