// nibble-generate: continues a text with a model, token by token.
#include <algorithm>
#include <iostream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include <nibble/core/thread_pool.hpp>
#include <nibble/model/generate.hpp>
#include <nibble/model/model_folder.hpp>
#include <nibble/text/stream_decoder.hpp>

#include "common/console.hpp"
#include "common/options.hpp"
#include "common/report.hpp"
#include "common/run_main.hpp"

namespace {

using namespace nibble;
using namespace nibble::example;

struct Options {
  std::string model, prompt;
  Index tokens = 128;
  std::optional<float> temperature, top_p, min_p, repetition_penalty;
  std::optional<Index> top_k;
  std::uint64_t seed = 0;
  std::vector<std::string> stops;
  CommonOptions common;
  RunOptions run;

  void add_to(CLI::App& app) {
    app.add_option("MODEL", model, "Folder of the model")->required();
    app.add_option("PROMPT", prompt, "The text to continue; -: read it from standard input")
        ->required();
    app.add_option("-n,--tokens", tokens, "Most tokens to generate")
        ->check(at_least(0))
        ->capture_default_str();
    app.add_option("--temperature", temperature,
                   "Flattens (above 1) or sharpens the choice; 0: always the most likely token. "
                   "Default 1 with --top-k, --top-p or --min-p, else 0")
        ->check(at_least(0));
    app.add_option("--top-k", top_k, "Choose among the K most likely tokens; 0: all (default)")
        ->check(at_least(0));
    app.add_option("--top-p", top_p,
                   "Choose among the most likely tokens that together reach P (default 1: all)");
    app.add_option("--min-p", min_p,
                   "Choose among tokens at least P times as likely as the most likely (default 0)");
    app.add_option("--repetition-penalty", repetition_penalty,
                   "Above 1: tokens of the text so far become less likely (default 1)");
    app.add_option("--seed", seed, "The same seed gives the same text")->capture_default_str();
    app.add_option("--stop", stops, "End before this text; may be given several times")
        ->take_all()
        ->expected(1);
    run.add_to(app);
    common.add_to(app);
    app.footer(
        "Without a sampling option, the model's generation_config.json decides how to sample "
        "where\n"
        "it says \"do_sample\": true; otherwise the most likely token is taken each time.\n\n"
        "Examples:\n"
        "  nibble-generate examples/models/novella-5m \"It was a dark night\" -n 60\n"
        "  nibble-generate MODEL - --temperature 0.8 --top-p 0.95 --seed 7 < prompt.txt\n"
        "  nibble-generate MODEL \"Once\" --stop \"The end\" --json");
  }

  [[nodiscard]] SamplingOptions sampling(const GenerationDefaults& defaults) const {
    SamplingOptions result;
    result.seed = seed;
    const bool filters = top_k || top_p || min_p;
    if (!filters && !temperature && !repetition_penalty && defaults.do_sample.value_or(false)) {
      result.temperature = defaults.temperature.value_or(1.0F);
      result.top_k = defaults.top_k.value_or(0);
      result.top_p = defaults.top_p.value_or(1.0F);
      result.min_p = defaults.min_p.value_or(0.0F);
      result.repetition_penalty = defaults.repetition_penalty.value_or(1.0F);
      return result;
    }
    result.temperature = temperature.value_or(filters ? 1.0F : 0.0F);
    result.top_k = top_k.value_or(0);
    result.top_p = top_p.value_or(1.0F);
    result.min_p = min_p.value_or(0.0F);
    result.repetition_penalty = repetition_penalty.value_or(1.0F);
    return result;
  }
};

std::string read_standard_input() {
  constexpr std::size_t limit = std::size_t{64} << 20;
  std::string text;
  char block[65536];
  while (std::cin.read(block, sizeof block), std::cin.gcount() > 0) {
    text.append(block, static_cast<std::size_t>(std::cin.gcount()));
    if (text.size() > limit) fail("standard input: longer than ", limit, " bytes");
  }
  return text;
}

double per_second(std::size_t tokens, double seconds) {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

void generate_text(const Options& options) {
  Console console;
  ThreadPool pool(options.common.threads);
  const Stopwatch opening;
  const ModelFolder model(options.model);
  const double open_seconds = opening.seconds();
  const Tokenizer tokenizer = model.tokenizer();
  const GenerationDefaults defaults = model.generation_defaults();
  const std::string prompt = options.prompt == "-" ? read_standard_input() : options.prompt;
  if (prompt.empty()) fail("PROMPT: is empty");
  const std::vector<TokenId> prompt_ids = tokenizer.encode(prompt);
  const Stopwatch loading;
  const Decoder decoder = model.load(pool, console.loading(), dispatch::best());
  const double load_seconds = open_seconds + loading.seconds();
  const Index context = decoder.config().max_positions;
  const auto prompt_tokens = static_cast<Index>(prompt_ids.size());
  const Index positions = std::min(context, prompt_tokens + std::min(options.tokens, context));
  Session session = decoder.make_session(positions, options.run.kv_type());
  Workspace workspace(pool, options.run.activation_mode());

  const GenerateOptions generation{.max_tokens = options.tokens,
                                   .sampling = options.sampling(defaults),
                                   .stop_ids = defaults.eos_ids,
                                   .stop_strings = options.stops};
  const bool stream = !options.common.json;
  bool started = false;
  const auto on_token = [&](TokenId, std::string_view text) {
    if (stream) std::cout << (started ? "" : prompt) << text << std::flush;
    started = true;
    return !interrupted;
  };
  console.banner(banner(model, pool, &options.run));
  const Generation result = generate(decoder, tokenizer, prompt_ids, session, workspace, generation,
                                     on_token, console.progress());
  if (result.stop == StopReason::Cancelled) throw Cancelled();

  const double prompt_rate = per_second(prompt_ids.size(), result.prompt_seconds);
  const double generate_rate = per_second(result.ids.size(), result.generate_seconds);
  if (stream) {
    std::cout << (started ? "\n" : prompt + "\n") << std::flush;
    console.note(concat("prompt: ", prompt_ids.size(), " tokens, ", fixed(prompt_rate, 0),
                        " tokens/s; generated: ", result.ids.size(), " tokens, ",
                        fixed(generate_rate, 0),
                        " tokens/s; stopped by: ", stop_reason_name(result.stop)));
    return;
  }
  std::vector<TokenId> ids = prompt_ids;
  ids.insert(ids.end(), result.ids.begin(), result.ids.end());
  Json json = describe_run("nibble-generate", model, pool, &options.run);
  const SamplingOptions& sampling = generation.sampling;
  json["sampling"] = {{"temperature", sampling.temperature},
                      {"top_k", sampling.top_k},
                      {"top_p", sampling.top_p},
                      {"min_p", sampling.min_p},
                      {"repetition_penalty", sampling.repetition_penalty},
                      {"seed", sampling.seed}};
  json["ids"] = ids;
  json["text"] = tokenizer.decode(prompt_ids) + result.text;
  json["completion"] = result.text;
  json["stop"] = stop_reason_name(result.stop);
  json["prompt_tokens"] = prompt_ids.size();
  json["generated_tokens"] = result.ids.size();
  json["load_seconds"] = load_seconds;  // of the weights, without the tokenizer
  json["prompt_seconds"] = result.prompt_seconds;
  json["generate_seconds"] = result.generate_seconds;
  json["prompt_tokens_per_second"] = prompt_rate;
  json["generate_tokens_per_second"] = generate_rate;
  std::cout << json_text(json);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Continues a text with a language model on the CPU.", "nibble-generate");
  Options options;
  options.add_to(app);
  return run_main(app, argc, argv, [&] { generate_text(options); });
}
