// nibble-quantize: from a Hugging Face folder to a folder of quantized weights that nibble maps.
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <limits>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <CLI/CLI.hpp>

#include <nibble/nibble.hpp>

#include "common/console.hpp"
#include "common/options.hpp"
#include "common/quantize_report.hpp"
#include "common/report.hpp"
#include "common/return_freed_memory.hpp"
#include "common/run_main.hpp"

namespace {

using namespace nibble;
using namespace nibble::example;

struct Options {
  std::string model, out, recipe_file, format, method{RoundToNearest::name}, calibration, evaluate;
  std::vector<std::string> method_options;
  std::optional<Index> group, window;
  std::optional<double> budget_bpw;
  std::optional<std::uint64_t> budget_size, memory_budget;
  Index samples = CalibrationText{}.samples, evaluate_windows = 0;
  bool asymmetric = false, per_tensor = false, overwrite = false, restart = false;
  CommonOptions common;

  void add_to(CLI::App& app) {
    std::vector<std::string> methods;
    for_each_quantizer_name([&](std::string_view name) { methods.emplace_back(name); });
    app.add_option("MODEL", model, "Folder of the model, with float weights")->required();
    app.add_option("OUT", out, "Folder to write")->required();
    auto* format_option =
        app.add_option("--format", format, "Format of the decoder blocks' Linear layers")
            ->check(CLI::IsMember(
                std::vector<std::string>(Formats::names.begin(), Formats::names.end())));
    app.add_option(
           "--method", method,
           "Algorithm that picks the codes; rtn: round to nearest, in seconds; with a text to "
           "calibrate on: awq: inputs scaled, ranges clipped, which takes the least text; gptq: "
           "each error made up for by the inputs that follow; best: gptq on searched grids, "
           "corrected and refined, which takes the most time and text")
        ->check(CLI::IsMember(methods))
        ->capture_default_str();
    app.add_option("--group", group,
                   "Inputs that share a scale: 32, 64, 128, or 0 for a whole row (default: 128 for "
                   "int4, int3 and int2, else 0)")
        ->check(at_least(0))
        ->needs(format_option);
    app.add_flag("--asymmetric", asymmetric, "Store a zero point beside each scale (int formats)")
        ->needs(format_option);
    app.add_flag("--per-tensor", per_tensor, "One range for all rows (zero-one-int8)")
        ->needs(format_option);
    CLI::Option* calibration_option = app.add_option(
        "--calibration", calibration,
        "File with text like what the model will read, UTF-8, for the calibrated methods");
    app.add_option("--samples", samples, "Use the first so many windows of the text")
        ->check(at_least(1))
        ->capture_default_str()
        ->needs(calibration_option);
    app.add_option("--window", window,
                   "Tokens in a window (default: 1024, or the context if shorter)")
        ->check(at_least(1))
        ->needs(calibration_option);
    app.add_option("--option", method_options,
                   "NAME=VALUE for the calibrated methods, as in a recipe's \"options\": damping, "
                   "act_order, search_grids, correction, refinements and scaling (gptq, best), "
                   "clip and scaling (awq); may be repeated")
        ->allow_extra_args(false);  // what follows may be MODEL
    app.add_option("--recipe", recipe_file,
                   "JSON file of rules by tensor name; they come first, --format is for the rest");
    CLI::Option* bits_option =
        app.add_option("--budget-bpw", budget_bpw,
                       "Instead of --format: choose a format for each Linear so that they take so "
                       "many bits per weight on average, by what the text says they lose")
            ->check(at_least(0))
            ->excludes(format_option)
            ->needs(calibration_option);
    app.add_option("--budget-size", budget_size,
                   "The same for a file of weights of so many bytes at most, as in 20M "
                   "(20,000,000 bytes) or 20MiB")
        ->transform(as_bytes())
        ->excludes(format_option)
        ->excludes(bits_option)
        ->needs(calibration_option);
    CLI::Option* evaluate_option =
        app.add_option("--evaluate", evaluate,
                       "File with a text, UTF-8, to measure the result on: perplexity before and "
                       "after, and the distance from the float model");
    app.add_option("--evaluate-windows", evaluate_windows,
                   "Use the first so many windows of that text; 0: all")
        ->check(at_least(0))
        ->capture_default_str()
        ->needs(evaluate_option);
    app.add_option("--memory-budget", memory_budget,
                   "Bytes of memory to keep to, as in 4G, 500M (500,000,000 bytes) or 1.5GiB; "
                   "activations go to a scratch file beside OUT if need be")
        ->transform(as_bytes());
    app.add_flag("--restart", restart,
                 "Delete what an interrupted calibration has finished, in the folder .NAME.partial "
                 "beside OUT, NAME being that of OUT, and begin anew");
    app.add_flag("--overwrite", overwrite, "Replace OUT where it is a model folder already");
    common.add_to(app);
    app.footer(
        "Embeddings, a separate head and norms stay as they are unless the recipe names them.\n"
        "A recipe: {\"rules\": [{\"tensors\": \"model.layers.0.*\", \"keep\": true},\n"
        "                     {\"tensors\": \"*.down_proj.weight\", \"format\": \"int8\"}]}\n\n"
        "Examples:\n"
        "  nibble-quantize examples/models/novella-5m novella-int4 --format int4 --asymmetric\n"
        "  nibble-quantize MODEL OUT --recipe recipe.json --format int3 --group 64\n"
        "  nibble-quantize MODEL OUT --format int4 --asymmetric --method best \\\n"
        "      --calibration book.txt --evaluate another.txt --evaluate-windows 30\n"
        "  nibble-quantize MODEL OUT --budget-bpw 3.5 --method gptq --calibration book.txt\n\n"
        "A calibration that was interrupted goes on after its last finished layer when the same\n"
        "command is repeated. Sizes: K, M and G are powers of 1,000, as in all that is reported;\n"
        "KiB, MiB and GiB powers of 1,024.");
  }

  [[nodiscard]] AnyQuantizer quantizer() const {
    AnyQuantizer quantizer = make_quantizer(method);
    for (const std::string& option : method_options) {
      const std::size_t equals = option.find('=');
      if (equals == std::string::npos) fail("--option ", option, ": expected NAME=VALUE");
      const std::string name = option.substr(0, equals);
      const Json value = parse_json(option.substr(equals + 1), concat("--option ", name));
      set_quantizer_options(quantizer, {{name, value}}, "--option");
    }
    return quantizer;
  }

  /// What formats are to be chosen for, if they are.
  [[nodiscard]] std::optional<BitBudget> budget() const {
    if (!budget_bpw && !budget_size) return std::nullopt;
    BitBudget budget{.file_size = budget_size, .method = quantizer()};
    if (budget_bpw) budget.bits_per_weight = *budget_bpw;
    return budget;
  }

  /// The rules that are known from the beginning.
  [[nodiscard]] Recipe recipe() const {
    const bool chosen = budget_bpw || budget_size;
    if (format.empty() && !chosen && recipe_file.empty()) {
      fail("expected --format, --budget-bpw, --budget-size or --recipe");
    }
    Recipe recipe;
    if (!recipe_file.empty()) recipe = read_recipe(recipe_file);
    const AnyQuantizer rest_method = quantizer();
    if (!format.empty()) {
      const Recipe rest =
          Recipe::uniform(rest_method, make_format(format, {group, asymmetric, per_tensor}));
      recipe.rules.insert(recipe.rules.end(), rest.rules.begin(), rest.rules.end());
    } else if (!chosen && (is_calibrated(rest_method) || !method_options.empty())) {
      fail("--method and --option go with --format or a budget");
    }
    return recipe;
  }
};

/// Bytes that the tokenizer takes for the first tokens of a file.
std::uint64_t encoding_memory(const std::string& file, Index tokens) {
  constexpr std::uint64_t for_each_byte = 14;
  const std::uint64_t part = encode_first_bytes(static_cast<std::size_t>(tokens));
  return for_each_byte * std::min<std::uint64_t>(part, MappedFile::open(file)->bytes().size());
}

/// The first `count` tokens of a file. Throws Error where it takes more than the memory budget to
/// encode them.
std::vector<TokenId> read_tokens(const Options& options, const ModelFolder& model,
                                 const std::string& file, Index count) {
  const std::uint64_t needed = encoding_memory(file, count);
  if (options.memory_budget && needed > *options.memory_budget) {
    fail(file, ": encoding it takes ", megabytes(needed), " MB, beyond --memory-budget");
  }
  return encode_file(model, file, count);
}

/// The text to calibrate on, where a method of the recipe or the budget wants one.
std::optional<CalibrationText> calibration_text(const Options& options, const Recipe& recipe,
                                                const std::optional<BitBudget>& budget,
                                                const ModelFolder& model) {
  const auto rule = std::find_if(recipe.rules.begin(), recipe.rules.end(),
                                 [](const RecipeRule& each) { return is_calibrated(each.method); });
  if (rule == recipe.rules.end() && !budget) {
    if (options.calibration.empty()) return std::nullopt;
    fail("--calibration: no rule has a method that reads it; --method awq, gptq or best does");
  }
  if (options.calibration.empty()) {
    if (budget) fail("a budget needs a text to measure losses on: --calibration");
    fail("method ", quantizer_name(rule->method), " needs a text to calibrate on: --calibration");
  }
  const Index longest = std::min(CalibrationText{}.window, model.config().max_positions);
  CalibrationText text{{}, options.window.value_or(longest), options.samples};
  if (text.window > model.config().max_positions) {
    fail("--window ", text.window, ": longer than the model's context of ",
         model.config().max_positions);
  }
  const Index most = std::numeric_limits<Index>::max() / text.window;
  text.tokens =
      read_tokens(options, model, options.calibration, std::min(text.samples, most) * text.window);
  if (text.windows() == 0) {
    fail(path_text(options.calibration), ": holds ", text.tokens.size(),
         " tokens, less than a window of ", text.window, " (--window)");
  }
  return text;
}

/// What the model is calibrated on, for the banner, and a warning where that is little for what was
/// asked.
std::string calibration_notice(const Options& options, const CalibrationText& text,
                               const ModelConfig& config) {
  const Index inputs = CalibrationStream::widest(config);
  const Index enough = 3 * inputs;
  const Index tokens = text.windows() * text.window;
  const bool solves = options.method == "gptq" || options.method == "best";
  return concat(", calibrated on ", text.windows(), " windows of ", text.window, " tokens",
                solves && tokens < enough
                    ? concat("\nfew tokens for layers of ", inputs, " inputs: with less than ",
                             enough, ", awq errs least")
                    : std::string());
}

std::uint64_t weights_file_size(const ModelFolder& model) {
  std::uint64_t bytes = 0;
  const ShardedSafetensors files = ShardedSafetensors::open(model.path());
  for (const SafetensorsFile& shard : files.shards()) {
    bytes += std::filesystem::file_size(shard.path());
  }
  return bytes;
}

/// The text to measure the result on, if any, and how.
struct EvaluationText {
  std::vector<TokenId> tokens;
  EvaluateOptions options;
};

/// Tokens of that text that are read at most: each window predicts one more than it takes.
Index evaluation_tokens(const Options& options, Index window) {
  constexpr Index all = std::numeric_limits<Index>::max();
  if (options.evaluate_windows == 0 || options.evaluate_windows > (all - 1) / window) return all;
  return options.evaluate_windows * window + 1;
}

std::optional<EvaluationText> evaluation_text(const Options& options, const ModelFolder& model) {
  if (options.evaluate.empty()) return std::nullopt;
  const Index window = std::min(Index{1024}, model.config().max_positions);
  EvaluationText text{{}, {window, options.evaluate_windows}};
  text.tokens = read_tokens(options, model, options.evaluate, evaluation_tokens(options, window));
  if (static_cast<Index>(text.tokens.size()) <= window) {
    fail(path_text(options.evaluate), ": holds ", text.tokens.size(), " tokens, a window of ",
         window, " takes one more than that");
  }
  return text;
}

/// What was written against the float model, both with float32 activations, keys and values, so
/// that the weights alone make the difference.
Evaluation evaluate_result(const Options& options, const EvaluationText& text,
                           const ModelFolder& model, ThreadPool& pool, Console& console) {
  console.task("evaluation");
  const ModelFolder written(options.out);
  const Decoder after = written.load(pool, console.loading(), dispatch::best());
  const Decoder before = model.load(pool, console.loading(), dispatch::best());
  const EvaluatedModel subject{&after, ActivationMode::Float, KvType::Float32};
  const EvaluatedModel reference{&before, ActivationMode::Float, KvType::Float32};
  return evaluate(subject, &reference, text.tokens, text.options, pool, console.progress());
}

/// Bytes of the text that the result is measured on.
std::uint64_t held_bytes(const std::optional<EvaluationText>& text) {
  return text ? text->tokens.capacity() * sizeof(TokenId) : 0;
}

/// What the budget leaves beside so many bytes.
std::optional<std::uint64_t> budget_beside(const Options& options, std::uint64_t held) {
  if (!options.memory_budget) return std::nullopt;
  return *options.memory_budget - std::min(held, *options.memory_budget);
}

/// The predicted peak of memory, all in all. Throws Error where the budget is too small.
MemoryPlan plan(const Options& options, const QuantizeMemory& memory,
                const std::optional<CalibrationText>& text,
                const std::optional<EvaluationText>& evaluation) {
  const std::uint64_t held = held_bytes(evaluation);
  MemoryPlan plan = plan_memory(memory, budget_beside(options, held));
  plan.peak += held;
  if (text) {
    plan.peak = std::max(
        plan.peak, encoding_memory(options.calibration, static_cast<Index>(text->tokens.size())));
  }
  if (!evaluation) return plan;
  const Index window = evaluation->options.window;
  const std::uint64_t evaluating =
      std::max(held + memory.evaluation(window),
               encoding_memory(options.evaluate, evaluation_tokens(options, window)));
  if (options.memory_budget && evaluating > *options.memory_budget) {
    fail("--memory-budget ", megabytes(*options.memory_budget), " MB: --evaluate takes ",
         megabytes(evaluating), " MB");
  }
  plan.peak = std::max(plan.peak, evaluating);
  return plan;
}

/// Quantizes within `memory_budget`; where that is interrupted, the message says how to go on.
QuantizedFolder write_folder(const Options& options, const ModelFolder& model, const Recipe& recipe,
                             const std::optional<BitBudget>& budget,
                             const std::optional<CalibrationText>& text,
                             std::optional<std::uint64_t> memory_budget, ThreadPool& pool,
                             Console& console) {
  const QuantizeFolderOptions folder_options{.resumable = true,
                                             .restart = options.restart,
                                             .memory_budget = memory_budget,
                                             .budget = budget};
  try {
    return quantize_folder(
        model, recipe, options.out, options.overwrite ? Existing::replace : Existing::refuse, pool,
        console.progress(), dispatch::best(), text ? &*text : nullptr, folder_options);
  } catch (const UnfinishedError& error) {
    fail(error.what(), "; the same command goes on once that is mended, --restart deletes it");
  } catch (const Cancelled&) {
    if (!text) throw;
    std::error_code code;
    const auto out = std::filesystem::absolute(options.out, code) / "";
    const std::filesystem::path partial = partial_path(out.lexically_normal().parent_path());
    if (!std::filesystem::exists(partial, code)) throw;
    fail("cancelled; what is finished is in ", path_text(partial),
         "; the same command goes on, --restart deletes it");
  }
}

void quantize(const Options& options) {
  Console console;
  ThreadPool pool(options.common.threads);
  const Recipe recipe = options.recipe();
  const std::optional<BitBudget> budget = options.budget();
  const ModelFolder model(options.model);
  const FloatTensors& floats = model.float_tensors();
  std::error_code code;
  if (!options.overwrite && std::filesystem::exists(options.out, code)) {
    fail(options.out, ": exists already; --overwrite replaces a model folder");
  }
  const std::uint64_t size_before = weights_file_size(model);
  const std::optional<CalibrationText> text = calibration_text(options, recipe, budget, model);
  static_cast<void>(require_calibration(model.config(), recipe, text ? &*text : nullptr));
  const std::optional<EvaluationText> to_evaluate = evaluation_text(options, model);
  const MemoryPlan memory = plan(
      options,
      QuantizeMemory(model.config(), floats, recipe, text ? &*text : nullptr, pool.size(), budget),
      text, to_evaluate);
  console.banner(concat(banner(model, pool), ", at most ", megabytes(memory.peak), " MB of memory",
                        memory.activations_on_disk ? ", with activations on disk" : "",
                        text ? calibration_notice(options, *text, model.config()) : ""));
  const Stopwatch stopwatch;
  const QuantizedFolder result =
      write_folder(options, model, recipe, budget, text,
                   budget_beside(options, held_bytes(to_evaluate)), pool, console);
  const double seconds = stopwatch.seconds();
  console.show_banner();
  if (result.resumed_layers > 0) {
    console.note(concat(result.resumed_layers, " of ", model.config().layers,
                        " layers were finished before"));
  }
  if (result.choice) show_choice(console, *result.choice);
  show_reports(console, result.recipe, result.reports);
  std::optional<Evaluation> evaluation;
  if (to_evaluate) evaluation = evaluate_result(options, *to_evaluate, model, pool, console);

  const QuantizedTensors tensors(floats, result.recipe);
  if (options.common.json) {
    Json json = describe_run("nibble-quantize", model, pool);
    json["output"] = path_text(options.out);
    json["recipe"] = recipe_to_json(result.recipe);
    json["formats"] = Json::array();
    for (const auto& [format, share] : shares(model.config(), tensors)) {
      json["formats"].push_back({{"format", format},
                                 {"matrices", share.matrices},
                                 {"weights", share.weights},
                                 {"bytes", share.bytes}});
    }
    if (result.choice) json["budget"] = choice_json(*result.choice);
    if (text) {
      json["calibration"] = {{"text", path_text(options.calibration)},
                             {"window", text->window},
                             {"windows", text->windows()},
                             {"resumed_layers", result.resumed_layers},
                             {"tensors", reports_json(result.reports)}};
    }
    json["memory"] = {{"predicted_peak", memory.peak},
                      {"activations_on_disk", memory.activations_on_disk},
                      {"budget", options.memory_budget ? Json(*options.memory_budget) : Json()}};
    if (evaluation) {
      json["evaluation"] =
          evaluation_json(options.evaluate, to_evaluate->options.window, *evaluation);
    }
    json["file_size_before"] = size_before;
    json["file_size"] = result.file_size;
    json["bits_per_weight"] = result.bits_per_weight;
    json["seconds"] = seconds;
    std::cout << json_text(json);
    return;
  }
  Table table{{"format", "matrices", "MB", "bits/weight"}};
  for (const auto& [format, share] : shares(model.config(), tensors)) {
    table.push_back({format, concat(share.matrices), megabytes(share.bytes),
                     fixed(8 * static_cast<double>(share.bytes) / share.weights, 3)});
  }
  std::cout << aligned_table(table) << '\n'
            << path_text(options.out) << ": " << megabytes(size_before) << " MB -> "
            << megabytes(result.file_size) << " MB, " << fixed(result.bits_per_weight, 3)
            << " bits per weight in the decoder's blocks, " << fixed(seconds, 2) << " s\n";
  if (evaluation) {
    std::cout << path_text(options.evaluate) << ": perplexity "
              << fixed(evaluation->reference_perplexity, 4) << " -> "
              << fixed(evaluation->perplexity, 4) << ", KL divergence "
              << significant(evaluation->kl_divergence) << " nats, top-1 agreement "
              << fixed(100 * evaluation->top1_agreement, 2) << " %\n";
  }
}

}  // namespace

int main(int argc, char** argv) {
  return_freed_memory();
  CLI::App app("Quantizes a model into a folder that every nibble program loads.",
               "nibble-quantize");
  Options options;
  options.add_to(app);
  return run_main(app, argc, argv, [&] { quantize(options); });
}
