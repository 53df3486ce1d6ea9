// nibble-logits: a model's logits for a sequence, to compare with another framework.
#include <algorithm>
#include <array>
#include <cstdint>
#include <iostream>
#include <span>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <nibble/core/thread_pool.hpp>
#include <nibble/io/safetensors_writer.hpp>
#include <nibble/model/decoder.hpp>
#include <nibble/model/model_folder.hpp>

#include "common/console.hpp"
#include "common/options.hpp"
#include "common/report.hpp"
#include "common/run_main.hpp"

namespace {

using namespace nibble;
using namespace nibble::example;

struct Options {
  std::string model, text, out;
  std::vector<TokenId> ids;
  std::string rope_frequencies = "float32";
  CommonOptions common;
  RunOptions run;

  void add_to(CLI::App& app) {
    app.add_option("MODEL", model, "Folder of the model")->required();
    auto* given = app.add_option("--ids", ids, "Token ids, separated by commas")->delimiter(',');
    app.add_option("--text", text, "A text instead of ids; the tokenizer adds its BOS")
        ->excludes(given);
    app.add_option("--out", out, "File to write: logits, F32 [tokens][vocabulary], and input_ids")
        ->required();
    app.add_option("--rope-frequencies", rope_frequencies,
                   "bfloat16: for models that another framework cast to bfloat16 with its buffers")
        ->check(CLI::IsMember(std::vector<std::string>{"float32", "bfloat16"}))
        ->capture_default_str();
    run.add_to(app);
    common.add_to(app);
    app.footer(
        "Examples:\n"
        "  nibble-logits MODEL --ids 1,2,3 --out logits.safetensors --activations float --kv "
        "float32\n"
        "  nibble-logits MODEL --text \"It was a dark night\" --out logits.safetensors --json");
  }
};

/// Runs the ids through the model and writes their logits, so many rows in memory at a time.
void write_logits(const Decoder& decoder, std::span<const TokenId> ids, const Options& options,
                  ThreadPool& pool, const Progress& progress) {
  const auto count = static_cast<Index>(ids.size());
  Session session =
      decoder.make_session(std::min(count, decoder.config().max_positions), options.run.kv_type());
  Workspace workspace(pool, options.run.activation_mode());
  const std::array layouts{TensorLayout{"logits", DType::F32, {count, decoder.config().vocab_size}},
                           TensorLayout{"input_ids", DType::I32, {count}}};
  SafetensorsWriter file(options.out, layouts);
  const std::vector<std::int32_t> numbers(ids.begin(), ids.end());
  file.write("input_ids", std::as_bytes(std::span(numbers)));
  constexpr Index chunk = 256;
  for (Index first = 0; first < count; first += chunk) {
    const Slice slice{&session,
                      ids.subspan(static_cast<std::size_t>(first),
                                  static_cast<std::size_t>(std::min(chunk, count - first))),
                      LogitRows::All};
    const auto logits = decoder.forward({&slice, 1}, workspace);
    report(progress, "logits", first, count);
    file.write("logits",
               std::as_bytes(std::span(logits.data(), static_cast<std::size_t>(logits.size()))));
  }
  report(progress, "logits", count, count);
  file.commit();
}

void run_logits(const Options& options) {
  Console console;
  ThreadPool pool(options.common.threads);
  const ModelFolder model(options.model);
  const std::vector<TokenId> ids =
      options.text.empty() ? options.ids : model.tokenizer().encode(options.text);
  if (ids.empty()) fail("--ids or --text: expected at least one token, found none");
  ModelConfig config = model.config();
  if (static_cast<Index>(ids.size()) > config.max_positions) {
    fail("a sequence of ", ids.size(), " tokens is longer than the model's context of ",
         config.max_positions);
  }
  config.rope.bfloat16_frequencies = options.rope_frequencies == "bfloat16";
  const Decoder decoder(config, model.tensors(), pool, console.loading(), dispatch::best());

  console.banner(banner(model, pool, &options.run));
  const Stopwatch stopwatch;
  write_logits(decoder, ids, options, pool, console.progress());
  console.show_banner();
  if (options.common.json) {
    Json json = describe_run("nibble-logits", model, pool, &options.run);
    json["rope_frequencies"] = options.rope_frequencies;
    json["output"] = path_text(options.out);
    json["ids"] = ids;
    json["tokens"] = ids.size();
    json["vocabulary"] = config.vocab_size;
    json["seconds"] = stopwatch.seconds();
    std::cout << json_text(json);
  } else {
    std::cout << path_text(options.out) << ": logits of " << ids.size() << " tokens x "
              << config.vocab_size << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Writes a model's float32 logits to a safetensors file.", "nibble-logits");
  Options options;
  options.add_to(app);
  return run_main(app, argc, argv, [&] { run_logits(options); });
}
