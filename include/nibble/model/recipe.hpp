// A recipe: which tensors are quantized by which method into which format, and which are left.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/io/json.hpp>
#include <nibble/model/format_json.hpp>
#include <nibble/model/quantizer_json.hpp>
#include <nibble/model/tensor_specs.hpp>
#include <nibble/quantize/quantizers.hpp>

namespace nibble {

/// Whether a pattern, in which `*` stands for any run of characters and `?` for any one, matches
/// all of a name. Takes time in proportion to the product of the lengths at most.
[[nodiscard]] constexpr bool glob_matches(std::string_view pattern,
                                          std::string_view name) noexcept {
  std::size_t p = 0;
  std::size_t n = 0;
  std::size_t star = std::string_view::npos;  // the last star, tried with ever longer runs
  std::size_t run_end = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      run_end = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++run_end;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

/// What is done with the tensors whose names match.
struct RecipeRule {
  std::string tensors;  // a glob of names
  bool keep = false;    // leave them as they are stored
  AnyQuantizer method;  // unless kept
  AnyFormat format;     // unless kept
};

/// All Linear layers of the decoder's blocks.
inline constexpr std::string_view decoder_linears = "model.layers.*_proj.weight";

/// Ordered rules: the first that matches a tensor's name decides; where none does, the tensor
/// stays as it is.
struct Recipe {
  std::vector<RecipeRule> rules;

  /// Every Linear of the decoder's blocks by one method into one format.
  [[nodiscard]] static Recipe uniform(const AnyQuantizer& method, const AnyFormat& format) {
    return {{{std::string(decoder_linears), false, method, format}}};
  }

  /// The rule for a tensor, or null where it stays as it is.
  [[nodiscard]] const RecipeRule* find(std::string_view tensor) const noexcept {
    for (const RecipeRule& rule : rules) {
      if (glob_matches(rule.tensors, tensor)) return rule.keep ? nullptr : &rule;
    }
    return nullptr;
  }

  /// Whether any rule is about a tensor, be it that it is kept.
  [[nodiscard]] bool names(std::string_view tensor) const noexcept {
    return std::ranges::any_of(
        rules, [&](const RecipeRule& rule) { return glob_matches(rule.tensors, tensor); });
  }

  /// Throws Error for a rule that matches no matrix of the model, which is most likely a mistake.
  void require_matches(const std::vector<TensorSpec>& specs) const {
    for (const RecipeRule& rule : rules) {
      const bool matches = std::ranges::any_of(specs, [&](const TensorSpec& spec) {
        return spec.role != TensorRole::Vector && glob_matches(rule.tensors, spec.name);
      });
      if (!matches) fail("recipe: no matrix of the model matches ", in_quotes(rule.tensors, 200));
    }
  }
};

/// Reads {"rules": [{"tensors": GLOB, "keep": true} or {"tensors": GLOB, "format": NAME, and
/// optionally "method", "options" of the method, "group", "asymmetric", "per_tensor"}, ...]}; the
/// method is "rtn" unless given. Throws Error, naming `source` and the field, for anything else.
[[nodiscard]] inline Recipe parse_recipe(const nlohmann::json& json, std::string_view source) {
  const auto refuse_unknown = [](const nlohmann::json& object, const std::string& where,
                                 std::initializer_list<std::string_view> known) {
    if (!object.is_object()) fail(where, ": expected an object, found ", describe_json(object));
    for (const auto& [key, value] : object.items()) {
      if (std::ranges::find(known, key) == known.end()) {
        fail(where, ": unknown field ", in_quotes(key));
      }
    }
  };
  refuse_unknown(json, std::string(source), {"rules"});
  const nlohmann::json& rules = json_at(json, "rules", source);
  if (!rules.is_array()) {
    fail(json_where(source, "rules"), ": expected an array, found ", describe_json(rules));
  }
  Recipe recipe;
  for (const nlohmann::json& rule : rules) {
    const std::string where = concat(json_where(source, "rules"), " element ", recipe.rules.size());
    refuse_unknown(
        rule, where,
        {"tensors", "keep", "method", "options", "format", "group", "asymmetric", "per_tensor"});
    RecipeRule parsed;
    parsed.tensors = json_field<std::string>(rule, "tensors", where);
    parsed.keep = json_optional<bool>(rule, "keep", where).value_or(false);
    if (parsed.keep) {
      if (rule.size() > 2) fail(where, ": \"keep\" goes with \"tensors\" alone");
    } else {
      parsed.format = format_from_json(rule, where);
      const auto method = json_optional<std::string>(rule, "method", where).value_or("rtn");
      try {
        parsed.method = make_quantizer(printable(method));
      } catch (const Error& error) {
        fail(where, ": ", error.what());
      }
      if (const nlohmann::json* options = json_find(rule, "options", where)) {
        set_quantizer_options(parsed.method, *options, json_where(where, "options"));
      }
    }
    recipe.rules.push_back(std::move(parsed));
  }
  return recipe;
}

/// Reads a recipe from a JSON file. Throws as `parse_recipe`.
[[nodiscard]] inline Recipe read_recipe(const std::filesystem::path& path) {
  return parse_recipe(read_json_file(path, std::uint64_t{16} << 20), path_text(path));
}

/// What `parse_recipe` reads.
[[nodiscard]] inline nlohmann::json recipe_to_json(const Recipe& recipe) {
  nlohmann::json rules = nlohmann::json::array();
  for (const RecipeRule& rule : recipe.rules) {
    nlohmann::json json = rule.keep ? nlohmann::json{{"keep", true}} : format_to_json(rule.format);
    json["tensors"] = rule.tensors;
    if (!rule.keep) {
      json["method"] = std::string(quantizer_name(rule.method));
      const nlohmann::json options = quantizer_options(rule.method);
      if (!options.empty()) json["options"] = options;
    }
    rules.push_back(std::move(json));
  }
  return {{"rules", std::move(rules)}};
}

}  // namespace nibble
