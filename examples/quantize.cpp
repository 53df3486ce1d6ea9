// nibble-quantize: from a Hugging Face folder to a folder of quantized weights that nibble maps.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <CLI/CLI.hpp>

#include <nibble/nibble.hpp>

#include "common/console.hpp"
#include "common/options.hpp"
#include "common/report.hpp"
#include "common/run_main.hpp"

namespace {

using namespace nibble;
using namespace nibble::example;

struct Options {
  std::string model, out, recipe_file, format, method{RoundToNearest::name}, calibration;
  std::vector<std::string> method_options;
  std::optional<Index> group, window;
  Index samples = CalibrationText{}.samples;
  bool asymmetric = false, per_tensor = false, overwrite = false;
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
    app.add_option("--method", method,
                   "Algorithm that picks the codes; rtn: round to nearest; the others need a text "
                   "to calibrate on")
        ->check(CLI::IsMember(methods))
        ->capture_default_str()
        ->needs(format_option);
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
    app.add_option(
           "--option", method_options,
           "NAME=VALUE for the calibrated methods, as in a recipe's \"options\": damping, "
           "act_order, search_grids, correction, refinements and scaling (gptq, best), clip "
           "and scaling (awq); may be repeated")
        ->needs(format_option)
        ->allow_extra_args(false);  // what follows may be MODEL
    app.add_option("--recipe", recipe_file,
                   "JSON file of rules by tensor name; they come first, --format is for the rest");
    app.add_flag("--overwrite", overwrite, "Replace OUT where it is a model folder already");
    common.add_to(app);
    app.footer(
        "Embeddings, a separate head and norms stay as they are unless the recipe names them.\n"
        "A recipe: {\"rules\": [{\"tensors\": \"model.layers.0.*\", \"keep\": true},\n"
        "                     {\"tensors\": \"*.down_proj.weight\", \"format\": \"int8\"}]}\n\n"
        "Examples:\n"
        "  nibble-quantize examples/models/novella-5m novella-int4 --format int4 --asymmetric\n"
        "  nibble-quantize MODEL OUT --recipe recipe.json --format int3 --group 64\n"
        "  nibble-quantize MODEL OUT --format int4 --method gptq --calibration book.txt");
  }

  [[nodiscard]] Recipe recipe() const {
    if (format.empty() && recipe_file.empty()) fail("expected --format, --recipe or both");
    Recipe recipe;
    if (!recipe_file.empty()) recipe = read_recipe(recipe_file);
    if (!format.empty()) {
      AnyQuantizer quantizer = make_quantizer(method);
      for (const std::string& option : method_options) {
        const std::size_t equals = option.find('=');
        if (equals == std::string::npos) fail("--option ", option, ": expected NAME=VALUE");
        const auto value = parse_json(option.substr(equals + 1), "--option");
        set_quantizer_options(quantizer, {{option.substr(0, equals), value}}, "--option");
      }
      const Recipe rest =
          Recipe::uniform(quantizer, make_format(format, {group, asymmetric, per_tensor}));
      recipe.rules.insert(recipe.rules.end(), rest.rules.begin(), rest.rules.end());
    }
    return recipe;
  }
};

/// The text to calibrate on, where a method of the recipe wants one.
std::optional<CalibrationText> calibration_text(const Options& options, const Recipe& recipe,
                                                const ModelFolder& model) {
  const auto rule = std::find_if(recipe.rules.begin(), recipe.rules.end(),
                                 [](const RecipeRule& each) { return is_calibrated(each.method); });
  if (rule == recipe.rules.end()) return std::nullopt;
  if (options.calibration.empty()) {
    fail("method ", quantizer_name(rule->method), " needs a text to calibrate on: --calibration");
  }
  const Index longest = std::min(CalibrationText{}.window, model.config().max_positions);
  return CalibrationText{encode_file(model, options.calibration), options.window.value_or(longest),
                         options.samples};
}

/// One line for each calibrated tensor, on stderr.
void show_reports(Console& console, const std::vector<TensorReport>& reports) {
  if (reports.empty()) return;
  Table table{{"tensor", "method", "format", "error", "of rtn's", "rtn rows", "damping", "exponent",
               "seconds"}};
  for (const TensorReport& report : reports) {
    const CalibrationReport& result = report.calibration;
    const bool known = result.errors_known();
    table.push_back({report.tensor, report.method, describe_format(report.format),
                     known ? significant(result.error) : "-",
                     known && result.nearest_error > 0
                         ? fixed(100 * result.error / result.nearest_error, 1) + " %"
                         : "-",
                     concat(result.nearest_rows), known ? significant(result.damping) : "-",
                     fixed(result.exponent, 2), fixed(report.seconds, 2)});
  }
  std::string text = aligned_table(table);
  text.pop_back();  // the last line's end
  console.note(text);
}

Json reports_json(const std::vector<TensorReport>& reports) {
  Json json = Json::array();
  for (const TensorReport& report : reports) {
    const bool known = report.calibration.errors_known();
    json.push_back({{"tensor", report.tensor},
                    {"method", report.method},
                    {"format", describe_format(report.format)},
                    {"error", known ? Json(report.calibration.error) : Json()},
                    {"rtn_error", known ? Json(report.calibration.nearest_error) : Json()},
                    {"rtn_rows", report.calibration.nearest_rows},
                    {"damping", report.calibration.damping},
                    {"exponent", report.calibration.exponent},
                    {"seconds", report.seconds}});
  }
  return json;
}

/// What a model has of one format.
struct Share {
  Index matrices = 0;
  double weights = 0;
  std::uint64_t bytes = 0;
};

std::map<std::string, Share> shares(const ModelConfig& config, const TensorProvider& tensors) {
  std::map<std::string, Share> by_format;
  for (const TensorSpec& spec : tensor_specs(config)) {
    if (spec.role == TensorRole::Vector) continue;
    const AnyFormat format = tensors.format(spec);
    Share& share = by_format[describe_format(format)];
    ++share.matrices;
    share.weights += static_cast<double>(spec.rows) * static_cast<double>(spec.cols);
    share.bytes += packed_bytes(format, spec.rows, spec.cols);
  }
  return by_format;
}

std::uint64_t weights_file_size(const ModelFolder& model) {
  std::uint64_t bytes = 0;
  const ShardedSafetensors files = ShardedSafetensors::open(model.path());
  for (const SafetensorsFile& shard : files.shards()) {
    bytes += std::filesystem::file_size(shard.path());
  }
  return bytes;
}

void quantize(const Options& options) {
  Console console;
  ThreadPool pool(options.common.threads);
  const Recipe recipe = options.recipe();
  const ModelFolder model(options.model);
  const QuantizedTensors tensors(model.float_tensors(), recipe);
  std::error_code code;
  if (!options.overwrite && std::filesystem::exists(options.out, code)) {
    fail(options.out, ": exists already; --overwrite replaces a model folder");
  }
  const std::uint64_t size_before = weights_file_size(model);
  const std::optional<CalibrationText> text = calibration_text(options, recipe, model);
  static_cast<void>(require_calibration(model.config(), recipe, text ? &*text : nullptr));

  console.banner(banner(model, pool));
  const Stopwatch stopwatch;
  const QuantizedFolder result = quantize_folder(
      model, recipe, options.out, options.overwrite ? Existing::replace : Existing::refuse, pool,
      console.progress(), dispatch::best(), text ? &*text : nullptr);
  const double seconds = stopwatch.seconds();
  console.show_banner();
  show_reports(console, result.reports);

  if (options.common.json) {
    Json json = describe_run("nibble-quantize", model, pool);
    json["output"] = path_text(options.out);
    json["recipe"] = recipe_to_json(recipe);
    json["formats"] = Json::array();
    for (const auto& [format, share] : shares(model.config(), tensors)) {
      json["formats"].push_back({{"format", format},
                                 {"matrices", share.matrices},
                                 {"weights", share.weights},
                                 {"bytes", share.bytes}});
    }
    if (text) {
      json["calibration"] = {{"text", path_text(options.calibration)},
                             {"window", text->window},
                             {"windows", text->windows()},
                             {"tensors", reports_json(result.reports)}};
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
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Quantizes a model into a folder that every nibble program loads.",
               "nibble-quantize");
  Options options;
  options.add_to(app);
  return run_main(app, argc, argv, [&] { quantize(options); });
}
