// nibble-evaluate: perplexity of a model on a text, and its distance from a reference model.
#include <algorithm>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <nibble/core/thread_pool.hpp>
#include <nibble/model/evaluate.hpp>
#include <nibble/model/model_folder.hpp>
#include <nibble/model/packed_checkpoint.hpp>

#include "common/console.hpp"
#include "common/options.hpp"
#include "common/report.hpp"
#include "common/run_main.hpp"

namespace {

using namespace nibble;
using namespace nibble::example;

struct Options {
  std::string model, text, reference;
  WindowOptions windows;
  CommonOptions common;
  RunOptions run;

  void add_to(CLI::App& app) {
    app.add_option("MODEL", model, "Folder of the model")->required();
    app.add_option("TEXT", text, "File with the text, UTF-8")->required();
    app.add_option("--reference", reference,
                   "Folder of the model to measure the distance from; it runs with float "
                   "activations and float32 KV");
    windows.add_to(app);
    run.add_to(app);
    common.add_to(app);
    app.footer(
        "The text is cut into windows of consecutive tokens without overlap; an incomplete last\n"
        "one is dropped. The figures are means over all predicted positions.\n\n"
        "Examples:\n"
        "  nibble-evaluate examples/models/novella-5m examples/texts/treasure_island.txt\n"
        "  nibble-evaluate novella-int4 book.txt --reference novella --windows 20 --json");
  }
};

void evaluate_model(const Options& options) {
  Console console;
  ThreadPool pool(options.common.threads);
  const ModelFolder model(options.model);
  const std::vector<TokenId> tokens = encode_file(model, options.text);
  std::optional<ModelFolder> reference_model;
  if (!options.reference.empty()) reference_model.emplace(options.reference);

  Index context = model.config().max_positions;
  if (reference_model) context = std::min(context, reference_model->config().max_positions);
  const EvaluateOptions evaluate_options = options.windows.evaluate_options(context);
  const Decoder decoder = model.load(pool, console.loading(), dispatch::best());
  std::optional<Decoder> reference_decoder;
  if (reference_model)
    reference_decoder.emplace(reference_model->load(pool, console.loading(), dispatch::best()));
  const EvaluatedModel subject{&decoder, options.run.activation_mode(), options.run.kv_type()};
  const EvaluatedModel reference{reference_decoder ? &*reference_decoder : nullptr,
                                 ActivationMode::Float, KvType::Float32};

  console.banner(banner(model, pool, &options.run));
  const Stopwatch stopwatch;
  const Evaluation result = evaluate(subject, reference_model ? &reference : nullptr, tokens,
                                     evaluate_options, pool, console.progress());
  const double seconds = stopwatch.seconds();
  const double bits =
      PackedCheckpoint(tensor_specs(model.config()), model.tensors()).bits_per_weight();
  console.show_banner();

  if (options.common.json) {
    Json json = describe_run("nibble-evaluate", model, pool, &options.run);
    json["text"] = path_text(options.text);
    json["reference"] = reference_model ? Json(path_text(options.reference)) : Json();
    json["window"] = evaluate_options.window;
    json["windows"] = result.windows;
    json["tokens"] = result.tokens;
    json["perplexity"] = result.perplexity;
    json["kl_divergence"] = result.kl_divergence;  // null without a reference
    json["top1_agreement"] = result.top1_agreement;
    json["bits_per_weight"] = bits;
    json["seconds"] = seconds;
    std::cout << json_text(json);
    return;
  }
  std::cout << "perplexity       " << fixed(result.perplexity, 4) << '\n';
  if (reference_model) {
    std::cout << "KL divergence    " << significant(result.kl_divergence) << " nats\n"
              << "top-1 agreement  " << fixed(100 * result.top1_agreement, 2) << " %\n";
  }
  std::cout << "bits per weight  " << fixed(bits, 3) << '\n'
            << "tokens           " << result.tokens << " in " << result.windows << " windows, "
            << fixed(seconds, 1) << " s\n";
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Measures how well a model predicts a text.", "nibble-evaluate");
  Options options;
  options.add_to(app);
  return run_main(app, argc, argv, [&] { evaluate_model(options); });
}
