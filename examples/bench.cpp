// nibble-bench: how fast a model of some shape runs, and what share that is of what the machine
// can.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <initializer_list>
#include <iostream>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include <nibble/core/thread_pool.hpp>
#include <nibble/dispatch/dispatch.hpp>
#include <nibble/model/decoder.hpp>
#include <nibble/model/model_folder.hpp>
#include <nibble/model/packed_checkpoint.hpp>
#include <nibble/model/quantized_tensors.hpp>

#include "common/available_memory.hpp"
#include "common/console.hpp"
#include "common/machine_limits.hpp"
#include "common/options.hpp"
#include "common/random_tensors.hpp"
#include "common/report.hpp"
#include "common/run_main.hpp"
#include "common/shapes.hpp"
#include "common/speed_samples.hpp"

namespace {

using namespace nibble;
using namespace nibble::example;

struct Options {
  std::string model, shape, head_format;
  std::vector<std::string> formats;
  std::optional<Index> group;
  bool asymmetric = false, mapped = false;
  BenchSizes sizes;
  Index repeat = 5;
  CommonOptions common;
  RunOptions run;

  void add_to(CLI::App& app) {
    const std::vector<std::string> names(Formats::names.begin(), Formats::names.end());
    auto* model_option = app.add_option("MODEL", model, "Folder of a model");
    app.add_option("--shape", shape, "Instead of MODEL: random weights of this shape")
        ->check(CLI::IsMember(shape_names()))
        ->excludes(model_option);
    auto* format_option =
        app.add_option("--format", formats,
                       "Formats of the decoder blocks' Linear layers, separated by commas and run "
                       "in turns, each with options of its own where it has any: int4, int4:32, "
                       "int3:asymmetric (default: int4; of a MODEL, as it is stored)")
            ->delimiter(',')
            ->allow_extra_args(false);  // what follows may be MODEL
    app.add_option("--group", group,
                   "Inputs that share a scale, in formats without options of their own: 32, 64, "
                   "128, or 0 for a whole row (default: 128 for int4, int3 and int2, else 0)")
        ->check(CLI::IsMember(std::vector<Index>{0, 32, 64, 128}))
        ->needs(format_option);
    app.add_flag("--asymmetric", asymmetric,
                 "Store a zero point beside each scale, in int formats without options of their "
                 "own")
        ->needs(format_option);
    app.add_option("--head-format", head_format,
                   "Format of the output head (default: the same, or int8 where that is below 8 "
                   "bits); an embedding that is not the head too is bfloat16")
        ->check(CLI::IsMember(names));
    app.add_option("--prompt", sizes.prompt, "Tokens of the prompt; 0: decode only")
        ->check(at_least(0))
        ->capture_default_str();
    app.add_option("--generate", sizes.generate, "Tokens to decode; 0: take in the prompt only")
        ->check(at_least(0))
        ->capture_default_str();
    app.add_option("--context", sizes.context, "Tokens that are there before the decoded ones")
        ->check(at_least(0))
        ->capture_default_str();
    app.add_option("--batch", sizes.batch, "Sequences that are decoded together")
        ->check(at_least(1))
        ->capture_default_str();
    app.add_option("--repeat", repeat, "Samples, of which the medians are shown")
        ->check(at_least(1))
        ->capture_default_str();
    app.add_flag("--mapped", mapped,
                 "Write the weights to a temporary file and use them from a mapping of it");
    run.add_to(app);
    common.add_to(app);
    std::string names_of_shapes;
    for (const Shape& each : shapes) {
      names_of_shapes += concat(names_of_shapes.empty() ? "" : ", ", each.name);
    }
    app.footer(
        "Shapes: " + names_of_shapes +
        ".\n\nMB/token are the packed weights of all Linear layers, head included, which every\n"
        "decoded token reads. \"of read\" is MB/token x tokens/s over the bandwidth at which as\n"
        "many threads read 1 GiB, \"of peak\" the multiply-accumulates of the Linear layers over\n"
        "the rate of vector instructions that do nothing else, both read just before and after "
        "each\n"
        "sample; \"of tiles\", on amx, over the rate of its matrix registers.\n\n"
        "Examples:\n"
        "  nibble-bench --shape tinyllama-1.1b --format bfloat16,int8,int4,int3:asymmetric\n"
        "  nibble-bench --shape llama-3.1-8b --threads 1 --prompt 0 --batch 16 --json\n"
        "  nibble-bench examples/models/novella-5m --format int8 --prompt 128");
  }
};

/// Formats of a row of the table.
struct RowFormats {
  AnyFormat linears;
  AnyFormat head;
};

/// The format that an element of --format asks for. An option beside the element goes to the
/// formats that have it; `used` is set where one does.
AnyFormat parse_format(const std::string& element, const Options& options, bool& used) {
  const std::vector<std::string> parts = CLI::detail::split(element, ':');
  const std::string& name = parts.front();
  FormatOptions own;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    Index group = 0;
    if (parts[i] == "asymmetric") {
      own.asymmetric = true;
    } else if (CLI::detail::lexical_cast(parts[i], group)) {
      own.group_size = group;
    } else {
      fail("--format ", element, ": expected a group size or asymmetric, found '", parts[i], "'");
    }
  }
  try {
    AnyFormat format = make_format(name, own);
    if (parts.size() > 1) return format;
    const auto try_options = [&](const FormatOptions& more) {
      try {
        format = make_format(name, more);
        own = more;
        used = true;
      } catch (const Error&) {
        // A format without this option stays as it is.
      }
    };
    if (options.group) try_options({.group_size = options.group});
    if (options.asymmetric) try_options({.group_size = own.group_size, .asymmetric = true});
    return format;
  } catch (const Error& error) {
    fail("--format ", element, ": ", error.what());
  }
}

/// The rows that the options ask for; none where a model is to be run as it is stored.
std::vector<RowFormats> parse_rows(const Options& options) {
  std::vector<std::string> elements = options.formats;
  if (elements.empty() && !options.shape.empty()) elements = {"int4"};
  if (elements.empty() && !options.head_format.empty()) {
    fail("--head-format: needs --format, as the model is run as it is stored");
  }
  std::vector<RowFormats> rows;
  bool used = !options.group && !options.asymmetric;
  for (const std::string& element : elements) {
    const AnyFormat linears = parse_format(element, options, used);
    const bool narrow = packed_bytes(linears, 16, 4096) < packed_bytes(GroupInt<8>{}, 16, 4096);
    const AnyFormat head =
        !options.head_format.empty() && options.head_format != format_name(linears)
            ? make_format(options.head_format)
        : narrow && options.head_format.empty() ? AnyFormat(GroupInt<8>{})
                                                : linears;
    rows.push_back({linears, head});
  }
  if (!used) fail(options.group ? "--group" : "--asymmetric", ": no format of --format has it");
  return rows;
}

/// What is run: a shape, or a model's folder.
struct Source {
  std::string name;
  std::optional<ModelFolder> folder;
  ModelConfig config;

  explicit Source(const Options& options) : name(options.shape) {
    if (options.model.empty() == options.shape.empty()) fail("expected MODEL or --shape");
    if (!options.model.empty()) {
      folder.emplace(options.model);
      name = model_name(*folder);
    }
    config = folder ? folder->config() : shape_config(options.shape);
  }

  /// The tensors of a row; null formats: as they are stored.
  [[nodiscard]] std::unique_ptr<TensorProvider> tensors(const RowFormats& row) const {
    if (!folder) {
      const AnyFormat embedding = config.tied_head ? row.head : AnyFormat(BFloat16Format{});
      return std::make_unique<RandomTensors>(row.linears, row.head, embedding);
    }
    const std::string_view head = config.tied_head ? embedding_name : head_name;
    const Recipe recipe{{{std::string(decoder_linears), false, RoundToNearest{}, row.linears},
                         {std::string(head), false, RoundToNearest{}, row.head}}};
    return std::make_unique<QuantizedTensors>(folder->float_tensors(), recipe);
  }
};

/// Refuses, before the long work, what is longer than the context or larger than the memory.
void check_sizes(const Options& options, const Source& source, std::uint64_t weights) {
  const BenchSizes& sizes = options.sizes;
  const ModelConfig& config = source.config;
  const auto within_context = [&](std::string_view what, double tokens) {
    if (tokens > static_cast<double>(config.max_positions)) {
      fail(what, ": ", fixed(tokens, 0), " tokens are longer than the context of ",
           config.max_positions);
    }
  };
  if (sizes.prompt == 0 && sizes.generate == 0) fail("--prompt and --generate: both are 0");
  within_context("--prompt", static_cast<double>(sizes.prompt));
  within_context("--context and --generate",
                 static_cast<double>(sizes.context) + static_cast<double>(sizes.generate));

  const auto available = available_memory();
  if (!available) return;
  const KvPageLayout page{options.run.kv_type(), config.layers, config.kv_heads, config.head_dim};
  const auto pages = [](Index tokens) {
    return static_cast<double>(divide_up(tokens, page_positions));
  };
  const auto rows = static_cast<double>(std::max<std::size_t>(options.formats.size(), 1));
  const auto batch = static_cast<double>(sizes.batch);
  const double cache = rows * static_cast<double>(page.page_bytes()) *
                       (pages(sizes.prompt) + batch * pages(sizes.context + sizes.generate));
  const double logits = batch * static_cast<double>(config.vocab_size) * sizeof(float);
  const double needed =
      static_cast<double>(weights) + cache + logits + static_cast<double>(MachineLimits::memory);
  if (needed > static_cast<double>(*available)) {
    fail(source.name, ": weights, KV cache and the probe of the memory need ",
         fixed(needed / 1e9, 1), " GB, but ", fixed(static_cast<double>(*available) / 1e9, 1),
         " GB are free; a narrower --format, fewer of them, or a smaller --batch needs less");
  }
}

/// A decoder, and the file that its weights are mapped from, if any.
struct LoadedRow {
  std::filesystem::path file;
  std::optional<Decoder> decoder;

  LoadedRow() = default;
  LoadedRow(const LoadedRow&) = delete;
  LoadedRow& operator=(const LoadedRow&) = delete;
  ~LoadedRow() {
    decoder.reset();
    remove_file();
  }

  void load(const ModelConfig& config, const TensorProvider& tensors, bool mapped, ExecutorRef pool,
            const Progress& progress) {
    if (!mapped) {
      decoder.emplace(config, tensors, pool, progress, dispatch::best());
      return;
    }
    file = sibling_path(std::filesystem::temp_directory_path() / "nibble-bench", "weights");
    PackedCheckpoint(tensor_specs(config), tensors).write(file, pool, progress);
    decoder.emplace(config, PackedTensors(SafetensorsFile::open(file)), pool, progress,
                    dispatch::best());
    remove_file();  // at once where the system allows it: the mapping stays
  }

 private:
  void remove_file() {
    std::error_code ignored;
    if (!file.empty()) std::filesystem::remove(file, ignored);
  }
};

[[nodiscard]] std::string percent(double share) {
  return std::isfinite(share) ? fixed(100 * share, 1) : "-";
}

Table make_table(const std::vector<BenchSubject>& subjects, const MachineLimits& machine) {
  const bool tiles = !machine.instruction(Arithmetic::Int8Tiles).empty();
  const BenchSizes& sizes = subjects.front().sizes();
  Table table{{"format", "MB/token"}};
  const auto add_header = [&](std::initializer_list<const char*> names) {
    table.front().insert(table.front().end(), names.begin(), names.end());
  };
  if (sizes.prompt > 0) add_header({"prompt tok/s", "GMAC/s", "% of peak"});
  if (sizes.prompt > 0 && tiles) add_header({"% of tiles"});
  if (sizes.generate > 0) add_header({"decode tok/s", "GB/s", "% of read"});
  if (sizes.generate > 0 && sizes.batch > 1) add_header({"GMAC/s", "% of peak"});
  for (const BenchSubject& subject : subjects) {
    const LinearWork work(subject.decoder());
    const AnyMatrix& weight = subject.decoder().layers().front().feed_forward.down_proj().weight();
    std::vector<std::string> row{describe_format(weight.format()),
                                 fixed((work.block_bytes + work.head_bytes) / 1e6, 1)};
    const auto add_rate = [&](const Phase& phase, double amount, double share) {
      row.push_back(significant(phase.per_second(amount) / 1e9));
      row.push_back(percent(share));
    };
    if (const Phase& phase = subject.prompt(); sizes.prompt > 0) {
      row.push_back(significant(phase.per_second(static_cast<double>(phase.tokens))));
      add_rate(phase, phase.macs, phase.share_of_peak());
      if (tiles) {
        const bool used = on_tiles(phase.arithmetic) != phase.arithmetic;
        row.push_back(used ? percent(phase.share_of_tiles()) : "-");
      }
    }
    if (const Phase& phase = subject.decode(); sizes.generate > 0) {
      row.push_back(significant(phase.per_second(static_cast<double>(phase.tokens))));
      add_rate(phase, phase.bytes, phase.share_of_read());
      if (sizes.batch > 1) add_rate(phase, phase.macs, phase.share_of_peak());
    }
    table.push_back(std::move(row));
  }
  return table;
}

Json phase_json(const Phase& phase) {
  if (phase.samples.empty()) return nullptr;
  const auto number = [](double value) { return std::isfinite(value) ? Json(value) : Json(); };
  Json json{{"tokens", phase.tokens},
            {"tokens_per_second", phase.per_second(static_cast<double>(phase.tokens))},
            {"bytes_per_second", phase.per_second(phase.bytes)},
            {"macs_per_second", phase.per_second(phase.macs)},
            {"share_of_read", number(phase.share_of_read())},
            {"share_of_peak", number(phase.share_of_peak())},
            {"samples", Json::array()}};
  for (const SpeedSample& sample : phase.samples) {
    json["samples"].push_back({{"seconds", sample.seconds},
                               {"read_bytes_per_second", sample.read},
                               {"peak_macs_per_second", number(sample.peak)}});
  }
  return json;
}

Json make_json(const std::vector<BenchSubject>& subjects, const MachineLimits& machine,
               const LimitReadings& readings, Json json) {
  json["limits"]["read_bytes_per_second"] = median(readings.read);
  for (std::size_t i = 0; i < arithmetic_names.size(); ++i) {
    const std::string_view instruction = machine.instruction(static_cast<Arithmetic>(i));
    json["limits"][std::string(arithmetic_names[i])] =
        instruction.empty()
            ? Json()
            : Json{{"instruction", instruction}, {"macs_per_second", median(readings.peaks[i])}};
  }
  json["rows"] = Json::array();
  for (const BenchSubject& subject : subjects) {
    const Decoder& decoder = subject.decoder();
    const LinearWork work(decoder);
    const AnyFormat format = decoder.layers().front().feed_forward.down_proj().weight().format();
    Json row = format_to_json(format);
    row["head_format"] = format_name(decoder.head().weight().format());
    const Phase& phase = subject.prompt().samples.empty() ? subject.decode() : subject.prompt();
    row["arithmetic"] = arithmetic_names[static_cast<std::size_t>(phase.arithmetic)];
    row["bytes_per_token"] = work.block_bytes + work.head_bytes;
    row["prompt"] = phase_json(subject.prompt());
    row["decode"] = phase_json(subject.decode());
    json["rows"].push_back(std::move(row));
  }
  return json;
}

std::string describe_limits(const MachineLimits& machine, const LimitReadings& readings) {
  std::string text = concat("limits: read ", significant(median(readings.read) / 1e9), " GB/s");
  for (std::size_t i = 0; i < arithmetic_names.size(); ++i) {
    const std::string_view instruction = machine.instruction(static_cast<Arithmetic>(i));
    if (instruction.empty()) continue;
    text += concat("; ", arithmetic_names[i], " ", significant(median(readings.peaks[i]) / 1e9),
                   " GMAC/s (", instruction, ")");
  }
  return text;
}

void bench(const Options& options) {
  Console console;
  ThreadPool pool(options.common.threads);
  const Source source(options);
  const std::vector<RowFormats> formats = parse_rows(options);
  std::vector<std::unique_ptr<TensorProvider>> providers;
  std::uint64_t weights = 0;
  const auto specs = tensor_specs(source.config);
  for (const RowFormats& row : formats) {
    providers.push_back(source.tensors(row));
    weights += PackedCheckpoint(specs, *providers.back()).file_size();
  }
  if (formats.empty()) weights = PackedCheckpoint(specs, source.folder->tensors()).file_size();
  check_sizes(options, source, weights);

  std::list<LoadedRow> rows;
  const auto load = [&](const TensorProvider& tensors) {
    rows.emplace_back().load(source.config, tensors, options.mapped, pool, console.loading());
  };
  for (const auto& provider : providers) load(*provider);
  if (formats.empty()) load(source.folder->tensors());

  console.task("warming up");
  Workspace workspace(pool, options.run.activation_mode());
  std::vector<BenchSubject> subjects;
  for (const LoadedRow& row : rows) {
    report(console.progress(), "format", static_cast<Index>(subjects.size()),
           static_cast<Index>(rows.size()));
    subjects.emplace_back(*row.decoder, options.sizes, options.run.kv_type(), workspace);
  }
  console.task("");
  const MachineLimits machine(rows.front().decoder->kernels().isa, pool.size());
  const LimitReadings readings =
      sample_speeds(subjects, machine, options.repeat, console.progress());

  const BenchSizes& sizes = options.sizes;
  if (options.common.json) {
    Json json = describe_run("nibble-bench", source.folder ? options.model : source.name, pool,
                             &options.run);
    json["prompt"] = sizes.prompt;
    json["generate"] = sizes.generate;
    json["context"] = sizes.context;
    json["batch"] = sizes.batch;
    json["repeat"] = options.repeat;
    json["mapped"] = options.mapped;
    std::cout << json_text(make_json(subjects, machine, readings, std::move(json)));
    return;
  }
  std::cout << source.name << ": " << describe_setting(pool, &options.run)
            << (options.mapped ? ", mapped weights" : "") << "\n\n"
            << aligned_table(make_table(subjects, machine)) << '\n'
            << describe_limits(machine, readings) << '\n';
  if (sizes.prompt > 0) std::cout << "prompt: " << sizes.prompt << " tokens; ";
  if (sizes.generate > 0) {
    std::cout << "decode: " << sizes.generate << " tokens after " << sizes.context;
    if (sizes.batch > 1) std::cout << " of each of " << sizes.batch << " sequences";
    std::cout << "; ";
  }
  std::cout << "medians of " << options.repeat << '\n';
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Measures speed beside the machine's own limits.", "nibble-bench");
  Options options;
  options.add_to(app);
  return run_main(app, argc, argv, [&] { bench(options); });
}
