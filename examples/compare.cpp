// nibble-compare: a model at every bit-width side by side: size, quality and speed.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

#include <nibble/core/thread_pool.hpp>
#include <nibble/io/output_file.hpp>
#include <nibble/model/evaluate.hpp>
#include <nibble/model/model_folder.hpp>
#include <nibble/model/packed_checkpoint.hpp>
#include <nibble/model/quantized_tensors.hpp>

#include "common/available_memory.hpp"
#include "common/console.hpp"
#include "common/options.hpp"
#include "common/output_folder.hpp"
#include "common/plot.hpp"
#include "common/report.hpp"
#include "common/run_main.hpp"
#include "common/speed.hpp"

namespace {

using namespace nibble;
using namespace nibble::example;

/// A row of the comparison: a format of the decoder blocks' Linear layers.
struct Width {
  std::string_view name;
  FormatOptions options;
};
constexpr std::array<Width, 8> widths{{{Float32Format::name, {}},
                                       {BFloat16Format::name, {}},
                                       {Float16Format::name, {}},
                                       {ZeroOneInt8::name, {}},
                                       {GroupInt<8>::name, {}},
                                       {GroupInt<4>::name, {128, true, false}},
                                       {GroupInt<3>::name, {128, true, false}},
                                       {GroupInt<2>::name, {64, true, false}}}};

struct Options {
  std::string model, text, output;
  std::vector<std::string> formats;
  WindowOptions windows;
  CommonOptions common;
  RunOptions run;

  void add_to(CLI::App& app) {
    std::vector<std::string> names;
    for (const Width& width : widths) names.emplace_back(width.name);
    app.add_option("MODEL", model, "Folder of the model, with float weights")->required();
    app.add_option("TEXT", text, "File with the text to measure quality on, UTF-8")->required();
    app.add_option("--output", output,
                   "Folder for compare.json, compare.md (the table) and compare.svg (a plot)");
    app.add_option("--formats", formats, "Rows to compare, separated by commas (default: all)")
        ->delimiter(',')
        ->check(CLI::IsMember(names));
    windows.add_to(app);
    run.add_to(app);
    common.add_to(app);
    app.footer(
        "Every row quantizes the Linear layers of the decoder's blocks by round-to-nearest: int4\n"
        "and int3 in groups of 128, int2 in groups of 64, all three with zero points; the 8-bit\n"
        "formats by row. The reference is the float32 model with float activations and float32 "
        "KV.\n"
        "All rows are in memory at once and go through the text side by side.\n"
        "Speeds are medians: a prompt of 512 tokens (or half the context), and 64 tokens decoded\n"
        "after 32.\n\n"
        "Examples:\n"
        "  nibble-compare examples/models/novella-5m examples/texts/treasure_island.txt\n"
        "  nibble-compare MODEL book.txt --formats int8,int4 --windows 8 --output results");
  }

  [[nodiscard]] bool wants(std::string_view name) const {
    return formats.empty() || std::ranges::find(formats, name) != formats.end();
  }
};

/// One row, measured.
struct Row {
  AnyFormat format;
  std::uint64_t file_size = 0;
  double bits_per_weight = 0;
  Evaluation quality;
  Speed speed;
};

[[nodiscard]] QuantizedTensors row_tensors(const ModelFolder& model, const AnyFormat& format) {
  return {model.float_tensors(), Recipe::uniform(RoundToNearest{}, format)};
}

/// The rows that are asked for, with their sizes.
std::vector<Row> make_rows(const Options& options, const ModelFolder& model) {
  std::vector<Row> rows;
  for (const Width& width : widths) {
    if (!options.wants(width.name)) continue;
    const AnyFormat format = make_format(width.name, width.options);
    const QuantizedTensors tensors = row_tensors(model, format);
    const PackedCheckpoint checkpoint(tensor_specs(model.config()), tensors);
    rows.push_back({format, checkpoint.file_size(), checkpoint.bits_per_weight(), {}, {}});
  }
  return rows;
}

/// Refuses rows that are more than memory holds at once.
void require_memory(const std::vector<Row>& rows) {
  std::uint64_t bytes = 0;
  for (const Row& row : rows) bytes += row.file_size;
  const auto available = available_memory();
  if (available && bytes > *available) {
    fail("the rows take ", megabytes(bytes), " MB of memory, ", megabytes(*available),
         " MB are there; --formats compares fewer");
  }
}

/// All rows go through the text side by side, so that the reference does so once.
void measure(std::vector<Row>& rows, const ModelFolder& model, const EvaluatedModel& reference,
             const std::vector<TokenId>& tokens, const Options& options,
             const EvaluateOptions& evaluate_options, ThreadPool& pool, Console& console) {
  std::vector<Decoder> decoders;
  for (const Row& row : rows) {
    decoders.emplace_back(model.config(), row_tensors(model, row.format), pool, console.loading(),
                          dispatch::best());
  }
  std::vector<EvaluatedModel> subjects;
  for (const Decoder& decoder : decoders) {
    subjects.push_back({&decoder, options.run.activation_mode(), options.run.kv_type()});
  }
  const std::vector<Evaluation> evaluations =
      evaluate_models(subjects, &reference, tokens, evaluate_options, pool, console.progress());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    rows[i].quality = evaluations[i];
    console.task(std::string(format_name(rows[i].format)));
    rows[i].speed = measure_speed(subjects[i], tokens, pool, console.progress());
  }
  console.task("");
}

Table make_table(const std::vector<Row>& rows) {
  Table table{{"format", "file MB", "bits/weight", "perplexity", "KL nats", "top-1 %",
               "prompt tok/s", "decode tok/s"}};
  for (const Row& row : rows) {
    table.push_back({describe_format(row.format), megabytes(row.file_size),
                     fixed(row.bits_per_weight, 2), fixed(row.quality.perplexity, 3),
                     significant(row.quality.kl_divergence),
                     fixed(100 * row.quality.top1_agreement, 2), significant(row.speed.prompt),
                     significant(row.speed.decode)});
  }
  return table;
}

Json make_json(const std::vector<Row>& rows, Json json) {
  json["rows"] = Json::array();
  for (const Row& row : rows) {
    const FormatOptions options = format_options(row.format);
    json["rows"].push_back({{"format", format_name(row.format)},
                            {"group", options.group_size.value_or(0)},
                            {"asymmetric", options.asymmetric},
                            {"file_size", row.file_size},
                            {"bits_per_weight", row.bits_per_weight},
                            {"perplexity", row.quality.perplexity},
                            {"kl_divergence", row.quality.kl_divergence},
                            {"top1_agreement", row.quality.top1_agreement},
                            {"prompt_tokens_per_second", row.speed.prompt},
                            {"decode_tokens_per_second", row.speed.decode}});
  }
  return json;
}

std::string make_plot(const std::vector<Row>& rows, const std::string& title,
                      const std::string& subtitle) {
  std::vector<PlotRow> points;
  for (const Row& row : rows) {
    points.push_back({std::string(format_name(row.format)),
                      static_cast<double>(row.file_size) / 1e6, row.quality.kl_divergence,
                      row.speed.prompt, row.speed.decode});
  }
  return plot_svg(title, subtitle, points);
}

void compare(const Options& options) {
  Console console;
  ThreadPool pool(options.common.threads);
  check_output_folder(options.output);
  const ModelFolder model(options.model);
  (void)model.float_tensors();  // an error, before the long work, where it is quantized already
  const std::vector<TokenId> tokens = encode_file(model, options.text);
  const EvaluateOptions evaluate_options =
      options.windows.evaluate_options(model.config().max_positions);
  std::vector<Row> rows = make_rows(options, model);
  require_memory(rows);
  // Float weights are exact as they are stored, so this is the float32 model.
  const Decoder reference_decoder = model.load(pool, console.loading(), dispatch::best());
  const EvaluatedModel reference{&reference_decoder, ActivationMode::Float, KvType::Float32};

  console.banner(banner(model, pool, &options.run));
  measure(rows, model, reference, tokens, options, evaluate_options, pool, console);
  console.show_banner();

  const Evaluation& first = rows.front().quality;
  Json json = describe_run("nibble-compare", model, pool, &options.run);
  json["text"] = path_text(options.text);
  json["window"] = evaluate_options.window;
  json["windows"] = first.windows;
  json["tokens"] = first.tokens;
  json["prompt_tokens"] = rows.front().speed.prompt_tokens;
  json["decode_tokens"] = rows.front().speed.decode_tokens;
  json = make_json(rows, std::move(json));
  const Table table = make_table(rows);
  const std::string text_name = path_text(std::filesystem::path(options.text).filename());
  const std::string subtitle =
      concat(first.tokens, " tokens of ", text_name, " · ", dispatch::best().isa, ", ", pool.size(),
             pool.size() == 1 ? " thread" : " threads", " · ", options.run.activations,
             " activations, ", options.run.kv, " KV");
  if (!options.output.empty()) {
    const std::filesystem::path folder = options.output;
    make_output_folder(folder);
    write_text_file(folder / "compare.json", json_text(json));
    write_text_file(folder / "compare.md", markdown_table(table));
    write_text_file(
        folder / "compare.svg",
        make_plot(rows, model_name(model) + ": one model at every bit-width", subtitle));
  }
  std::cout << (options.common.json ? json_text(json) : aligned_table(table));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Compares a model at every bit-width: size, quality and speed.", "nibble-compare");
  Options options;
  options.add_to(app);
  return run_main(app, argc, argv, [&] { compare(options); });
}
