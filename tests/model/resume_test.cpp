// Quantizing a folder layer by layer: interrupted and gone on with, within a budget of memory, on a
// full disk.
#include <fstream>
#include <utility>

#include <nibble/dispatch/dispatch.hpp>
#include <nibble/model/quantize_model.hpp>

#include "io/io_test_support.hpp"
#include "support/tiny_model.hpp"

#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "support/file_size_limit.hpp"
#endif

// Where the allocator can be made to give back what is free, and no sanitizer has its own.
#if defined(__linux__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__)
#if defined(__has_feature)
#if !__has_feature(address_sanitizer)
#define NIBBLE_TEST_MEASURES_MEMORY
#endif
#else
#define NIBBLE_TEST_MEASURES_MEMORY
#endif
#endif
#if defined(NIBBLE_TEST_MEASURES_MEMORY)
#include <malloc.h>
#endif

namespace nibble {
namespace {

using namespace test;

/// Three layers, and a recipe with something of everything: the float model goes along, a tensor is
/// kept, one rounded to nearest, and so is the embedding.
struct Subject {
  TinyFolder folder{{.patch = {{"num_hidden_layers", 3}}}};
  ModelFolder model = folder.open();
  CalibrationText text{random_tokens(53, 70), 20, 3};
  Recipe recipe{{{"*.1.mlp.up_proj.weight", true, {}, {}},
                 {"*.v_proj.weight", false, RoundToNearest{}, make_format("int8")},
                 {"model.embed_tokens.weight", false, RoundToNearest{}, make_format("int8")},
                 {"*.1.*o_proj.weight", false, Best{}, make_format("int3", {32, true})},
                 {"*_proj.weight", false, Gptq{}, make_format("int4")}}};
  QuantizeFolderOptions options{.resumable = true};
  std::filesystem::path out = folder / "out";
  std::filesystem::path partial = folder / ".out.partial";

  QuantizedFolder quantize(const Progress& progress = {}, int threads = 1) const {
    ThreadPool pool(threads);
    return quantize_folder(model, recipe, out, Existing::refuse, pool, progress, dispatch::best(),
                           &text, options);
  }
  /// Stops after some steps of progress; false where it is finished before.
  bool interrupt(Index steps) const {
    try {
      quantize([&](std::string_view, Index, Index) { return steps-- > 0; });
      return false;
    } catch (const Cancelled&) {
      return true;
    }
  }
  /// What is written without an interruption.
  std::vector<std::string> expected() {
    options.resumable = false;
    quantize();
    options.resumable = true;
    std::vector<std::string> files = listing(out);
    std::filesystem::remove_all(out);
    return files;
  }
};

std::vector<std::string> report_texts(const QuantizedFolder& result) {
  std::vector<std::string> texts;
  for (TensorReport report : result.reports) {
    report.seconds = 0;
    texts.push_back(reports_to_json({report}).dump());
  }
  return texts;
}

TEST_CASE("an interrupted quantization goes on and ends with the same bytes") {
  Subject subject;
  const std::vector<std::string> expected = subject.expected();
  const std::vector<std::string> before = listing(subject.folder / ".");
  const std::vector<std::string> reports = report_texts(subject.quantize());
  CHECK(reports.size() == 3 * 7 - 3 - 1);
  CHECK(listing(subject.out) == expected);
  CHECK_FALSE(std::filesystem::exists(subject.partial));
  std::filesystem::remove_all(subject.out);
  std::vector<Index> resumed(4, 0);
  for (Index steps = 0; subject.interrupt(steps); steps += 5) {
    CAPTURE(steps);
    CHECK_FALSE(std::filesystem::exists(subject.out));
    const bool kept = std::filesystem::exists(subject.partial);
    if (!kept) CHECK(listing(subject.folder / ".") == before);
    const QuantizedFolder result = subject.quantize({}, 2);
    CHECK(kept == (result.resumed_layers > 0));
    CHECK(listing(subject.out) == expected);
    CHECK(report_texts(result) == reports);
    CHECK_FALSE(std::filesystem::exists(subject.partial));
    ++resumed[static_cast<std::size_t>(result.resumed_layers)];
    std::filesystem::remove_all(subject.out);
  }
  for (const Index count : resumed) CHECK(count > 0);
  std::filesystem::remove_all(subject.out);

  // Again and again.
  Index rounds = 0;
  for (Index steps = 30; subject.interrupt(steps); steps += 10) ++rounds;
  CHECK(rounds > 3);
  CHECK(listing(subject.out) == expected);
}

TEST_CASE("scaled inputs are resumed with the same bytes") {
  Subject subject;
  Best best;
  best.scaling = true;
  const AnyQuantizer methods[] = {Awq{}, best};
  for (const AnyQuantizer& method : methods) {
    CAPTURE(quantizer_name(method));
    subject.recipe = Recipe::uniform(method, make_format("int4", {32, true}));
    const std::vector<std::string> expected = subject.expected();
    const std::vector<std::string> reports = report_texts(subject.quantize());
    std::filesystem::remove_all(subject.out);
    Index rounds = 0;
    Index resumed = 0;
    for (Index steps = 20; subject.interrupt(steps); steps += 40, ++rounds) {
      const QuantizedFolder result = subject.quantize({}, 2);
      resumed += result.resumed_layers;
      CHECK(listing(subject.out) == expected);
      CHECK(report_texts(result) == reports);
      std::filesystem::remove_all(subject.out);
    }
    CHECK(rounds > 1);
    CHECK(resumed > 0);
    std::filesystem::remove_all(subject.out);
  }
}

TEST_CASE("formats are chosen once, and an interrupted choice begins anew") {
  Subject subject;
  subject.recipe = {{{"*.1.mlp.up_proj.weight", false, RoundToNearest{}, make_format("int8")}}};
  subject.options.budget = BitBudget{.bits_per_weight = 8, .method = Gptq{}};
  const std::vector<std::string> expected = subject.expected();
  const QuantizedFolder whole = subject.quantize();
  REQUIRE(whole.choice);
  const nlohmann::json choice = choice_to_json(*whole.choice);
  CHECK(recipe_to_json(whole.recipe) == choice["recipe"]);
  CHECK(whole.recipe.rules.size() == 21);
  CHECK(whole.bits_per_weight == whole.choice->bits_per_weight);
  std::filesystem::remove_all(subject.out);

  // Stops so many steps after the formats are known.
  const auto interrupt = [&](Index after) {
    bool known = false;
    REQUIRE_THROWS_AS(subject.quantize([&](std::string_view stage, Index, Index) {
      known = known || stage == "choosing formats";
      return !known || after-- > 0;
    }),
                      Cancelled);
  };
  for (const Index after : {0, 1, 60}) {
    CAPTURE(after);
    interrupt(after);
    const bool kept = after > 0;
    CHECK(std::filesystem::exists(subject.partial / "choice.json") == kept);
    CHECK(std::filesystem::exists(subject.partial) == kept);
    bool measured = false;
    const QuantizedFolder result = subject.quantize(
        [&](std::string_view stage, Index, Index) {
          measured = measured || stage == "output errors";
          return true;
        },
        2);
    CHECK(measured != kept);
    CHECK((result.resumed_layers > 0) == (after == 60));
    CHECK(choice_to_json(*result.choice) == choice);
    CHECK(listing(subject.out) == expected);
    CHECK_FALSE(std::filesystem::exists(subject.partial));
    std::filesystem::remove_all(subject.out);
  }

  interrupt(1);
  const std::vector<std::string> before = listing(subject.folder / ".");
  const auto refused = [&](std::optional<BitBudget> budget, Recipe recipe,
                           const std::string& difference) {
    std::swap(subject.options.budget, budget);
    std::swap(subject.recipe, recipe);
    REQUIRE_ERROR(subject.quantize(), "differs in: " + difference + ";");
    CHECK(listing(subject.folder / ".") == before);
    std::swap(subject.options.budget, budget);
    std::swap(subject.recipe, recipe);
  };
  refused(BitBudget{.file_size = 1'000'000, .method = Gptq{}}, subject.recipe, "budget");
  refused(std::nullopt, Recipe::uniform(Gptq{}, make_format("int4")), "budget, recipe (rule 1)");
  write_text_file(subject.partial / "choice.json", "{}");
  REQUIRE_ERROR(subject.quantize(), "choice.json: field 'recipe': missing");
  subject.options.restart = true;
  subject.quantize();
  CHECK(listing(subject.out) == expected);
}

TEST_CASE("layers of another run are neither used nor touched") {
  Subject subject;
  const std::vector<std::string> expected = subject.expected();
  REQUIRE(subject.interrupt(60));
  REQUIRE(std::filesystem::exists(subject.partial / "layer-0.safetensors"));
  const std::vector<std::string> before = listing(subject.folder / ".");
  const auto refused = [&](const Subject& other, const std::string& difference) {
    REQUIRE_ERROR(other.quantize(),
                  ".out.partial: holds what is finished of another run, which differs in: " +
                      difference + "; ");
    CHECK(listing(subject.folder / ".") == before);
  };
  const Subject other_model{.folder = TinyFolder({.patch = {{"num_hidden_layers", 3}}, .seed = 2}),
                            .out = subject.out};
  refused(other_model, "model");
  {
    Subject changed{.out = subject.out};
    changed.text.tokens[7] = (changed.text.tokens[7] + 1) % 53;
    refused(changed, "calibration text");
    changed.text = subject.text;
    changed.text.window = 30;
    changed.text.samples = 2;
    changed.recipe.rules.pop_back();
    refused(changed, "recipe (rule 5), window, windows");  // the same tokens
  }
  {
    Subject changed{.out = subject.out};
    std::get<Gptq>(changed.recipe.rules.back().method).damping = 0.02;
    refused(changed, "recipe (rule 5)");
  }

  subject.options.restart = true;
  CHECK(subject.quantize().resumed_layers == 0);
  CHECK(listing(subject.out) == expected);
  CHECK_FALSE(std::filesystem::exists(subject.partial));
}

TEST_CASE("what is no finished layer stops a resumed run, by its name") {
  Subject subject;
  REQUIRE(subject.interrupt(60));
  const auto layer = subject.partial / "layer-0.safetensors";
  const auto size = std::filesystem::file_size(layer);
  for (const std::uintmax_t cut : {size - 1, size / 2, std::uintmax_t{9}, std::uintmax_t{0}}) {
    std::filesystem::resize_file(layer, cut);
    const std::vector<std::string> before = listing(subject.folder / ".");
    REQUIRE_ERROR(subject.quantize(), "layer-0.safetensors");
    CHECK(listing(subject.folder / ".") == before);
  }
  std::filesystem::remove_all(subject.partial);
  std::filesystem::create_directory(subject.partial);
  write_text_file(subject.partial / "letter.txt", "mine");
  const std::vector<std::string> before = listing(subject.folder / ".");
  for (const bool restart : {false, true}) {
    subject.options.restart = restart;
    REQUIRE_ERROR(subject.quantize(), ".out.partial: in the way: expected an interrupted run");
    CHECK(listing(subject.folder / ".") == before);
  }
}

TEST_CASE("a second run of the same output is refused while the first one writes") {
  Subject subject;
  const std::vector<std::string> expected = subject.expected();
  Index refusals = 0;
  Index steps = 0;
  subject.quantize([&](std::string_view stage, Index, Index) {
    if (stage == "reading the model" || steps++ % 20 != 0) return true;
    for (const bool restart : {false, true}) {
      subject.options.restart = restart;
      REQUIRE_ERROR(subject.quantize(), ".out.partial/lock: another run is writing here");
      ++refusals;
    }
    subject.options.restart = false;
    return true;
  });
  CHECK(refusals > 6);
  CHECK(listing(subject.out) == expected);
  CHECK_FALSE(std::filesystem::exists(subject.partial));
}

TEST_CASE("what a run leaves that is killed right at the start is in nobody's way") {
  Subject subject;
  const std::vector<std::string> expected = subject.expected();
  for (const bool restart : {false, true}) {
    for (const char* left : {"", "lock", ".run.json.partial-0123abcd"}) {
      CAPTURE(restart, left);
      std::filesystem::create_directory(subject.partial);
      if (*left != '\0') write_text_file(subject.partial / left, "");
      subject.options.restart = restart;
      CHECK(subject.quantize().resumed_layers == 0);
      CHECK(listing(subject.out) == expected);
      CHECK_FALSE(std::filesystem::exists(subject.partial));
      std::filesystem::remove_all(subject.out);
    }
  }
}

TEST_CASE("a layer that is not the run's own is refused") {
  Subject subject;
  const auto layer = subject.partial / "layer-0.safetensors";
  const Recipe recipe = std::exchange(subject.recipe, Recipe::uniform(Gptq{}, make_format("int4")));
  REQUIRE(subject.interrupt(60));
  const auto other = subject.folder / "other";
  std::filesystem::rename(layer, other);
  std::filesystem::remove_all(subject.partial);
  subject.recipe = recipe;
  REQUIRE(subject.interrupt(60));
  {
    ThreadPool pool(1);
    const LayerFiles layers(subject.partial, read_json_file(subject.partial / "run.json"),
                            tensor_specs(subject.model.config()), pool);
    CHECK_NOTHROW(layers.require_recipe(recipe));
    REQUIRE_ERROR(layers.require_recipe(uniform_recipe("int8")),
                  "layer-0.safetensors: model.layers.0.mlp.down_proj.weight is int4");
    REQUIRE_ERROR(
        layers.require_recipe({{{"*.0.*q_proj.weight", false, Gptq{}, make_format("int2")}}}),
        "q_proj.weight is int4 g128, expected int2 g128");
  }
  std::filesystem::rename(other, layer);
  const std::vector<std::string> before = listing(subject.folder / ".");
  REQUIRE_ERROR(subject.quantize(), "layer-0.safetensors: is of another run than run.json");
  CHECK(listing(subject.folder / ".") == before);
}

TEST_CASE("a budget of memory sends activations to disk, and is refused where it is too small") {
  Subject subject;
  const std::vector<std::string> expected = subject.expected();
  const auto memory_of = [&](int threads) {
    return QuantizeMemory(subject.model.config(), subject.model.float_tensors(), subject.recipe,
                          &subject.text, threads);
  };
  const QuantizeMemory memory = memory_of(1);
  const std::uint64_t in_memory = memory.peak(false);
  const std::uint64_t on_disk = memory.peak(true);
  // Two models, of whose three windows two are elsewhere: their hidden states, and the inputs of
  // the widest Linear.
  CHECK(in_memory - on_disk == 2 * 2 * 20 * (24 + 40) * sizeof(float));
  CHECK(memory_of(3).peak(true) > on_disk);
  const QuantizeMemory plain(subject.model.config(), subject.model.float_tensors(),
                             uniform_recipe("int4"), nullptr, 1);
  CHECK(plain.peak(true) < on_disk);
  CHECK(plain.peak(true) == plain.peak(false));
  const auto best_memory = [&](const Recipe& recipe, const std::optional<BitBudget>& budget) {
    return QuantizeMemory(subject.model.config(), subject.model.float_tensors(), recipe,
                          &subject.text, 1, budget)
        .peak(false);
  };
  CHECK(best_memory({}, BitBudget{.method = Best{}}) >=
        best_memory(Recipe::uniform(Best{}, make_format("int8")), std::nullopt));
  CHECK(best_memory({}, BitBudget{}) > best_memory(uniform_recipe("int8"), std::nullopt));

  const std::vector<std::string> before = listing(subject.folder / ".");
  for (const bool resumable : {false, true}) {
    subject.options = {.resumable = resumable, .memory_budget = in_memory};
    CHECK_FALSE(subject.quantize().memory.activations_on_disk);
    CHECK(listing(subject.out) == expected);
    std::filesystem::remove_all(subject.out);
    subject.options.memory_budget = in_memory - 1;
    const QuantizedFolder result = subject.quantize({}, 1);
    CHECK(result.memory.activations_on_disk);
    CHECK(result.memory.peak == on_disk);
    CHECK(listing(subject.out) == expected);
    std::filesystem::remove_all(subject.out);
    CHECK(listing(subject.folder / ".") == before);
    subject.options.memory_budget = on_disk - 1;
    REQUIRE_ERROR(subject.quantize(), " MB with activations on disk; shorter windows take less");
    CHECK(listing(subject.folder / ".") == before);
  }
  REQUIRE_ERROR(plan_memory(plain, 123'456), "memory budget of 0.12 MB: quantizing takes 25.");
  CHECK_FALSE(error_of([&] { static_cast<void>(plan_memory(plain, 123'456)); }).ends_with("less"));
}

TEST_CASE("a rule that reaches no tensor costs nothing") {
  Subject subject;
  const auto memory = [&] {
    return QuantizeMemory(subject.model.config(), subject.model.float_tensors(), subject.recipe,
                          &subject.text, 1)
        .peak(false);
  };
  const auto steps = [&] {
    Index count = 0;
    subject.quantize([&](std::string_view, Index, Index) { return ++count > 0; });
    std::filesystem::remove_all(subject.out);
    return count;
  };
  subject.recipe = Recipe::uniform(Gptq{}, make_format("int4"));
  const std::uint64_t plain = memory();
  const Index plain_steps = steps();
  subject.recipe.rules.push_back({"*_proj.weight", false, Best{}, make_format("int4")});
  CHECK(memory() == plain);
  CHECK(steps() == plain_steps);
  CHECK_FALSE(calibration_needs(subject.model.config(), subject.recipe).cross);
  std::swap(subject.recipe.rules.front(), subject.recipe.rules.back());
  CHECK(memory() > plain);
  CHECK(calibration_needs(subject.model.config(), subject.recipe).cross);
}

#if defined(NIBBLE_TEST_MEASURES_MEMORY)
TEST_CASE("the memory that is taken is about what was predicted") {
  const TinyFolder folder(
      {.patch = {
           {"hidden_size", 64}, {"intermediate_size", 256}, {"max_position_embeddings", 512}}});
  const ModelFolder model = folder.open();
  ThreadPool pool(1);
  const CalibrationText text{random_tokens(53, 32 * 512), 512, 32};
  const auto anonymous = [] {
    std::ifstream file("/proc/self/status");
    std::string word;
    std::uint64_t kilobytes = 0;
    while (file >> word && word != "RssAnon:") {
    }
    file >> kilobytes;
    return kilobytes << 10;
  };
  for (const AnyQuantizer& method : {AnyQuantizer(Gptq{}), AnyQuantizer(Best{})}) {
    Recipe recipe = Recipe::uniform(method, make_format("int4"));
    recipe.rules.push_back({"*_proj.weight", false, Best{}, make_format("int4")});
    const auto predicted = [&](const CalibrationText* known) {
      return QuantizeMemory(model.config(), model.float_tensors(),
                            known == nullptr ? uniform_recipe("int4") : recipe, known, 1)
          .peak(false);
    };
    const std::uint64_t expected = predicted(&text) - predicted(nullptr);
    ::malloc_trim(0);
    const std::uint64_t before = anonymous();
    std::uint64_t most = before;
    quantize_folder(
        model, recipe, folder / "out", Existing::replace, pool,
        [&](std::string_view, Index, Index) {
          most = std::max(most, anonymous());
          return true;
        },
        dispatch::best(), &text);
    CAPTURE(quantizer_name(method), expected, before, most);
    CHECK(static_cast<double>(most - before) < 1.1 * static_cast<double>(expected) + 4e6);
    CHECK(static_cast<double>(most - before) > 0.6 * static_cast<double>(expected));
  }
}
#endif

#if !defined(_WIN32)
TEST_CASE("a killed quantization goes on") {
  Subject subject;
  const std::vector<std::string> expected = subject.expected();
  const std::vector<std::string> before = listing(subject.folder / ".");
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    Index steps = 60;
    subject.quantize([&](std::string_view, Index, Index) {
      if (--steps == 0) ::raise(SIGKILL);
      return true;
    });
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFSIGNALED(status));
  CHECK(subject.quantize().resumed_layers > 0);
  CHECK(listing(subject.out) == expected);
  std::filesystem::remove_all(subject.out);
  CHECK(listing(subject.folder / ".") == before);
}

TEST_CASE("a full disk is reported, and what was finished is kept on request") {
  Subject subject;
  const std::vector<std::string> expected = subject.expected();
  const std::vector<std::string> before = listing(subject.folder / ".");
  // Layers fit, the whole does not.
  const auto quantize = [&] {
    const FileSizeLimit limit(12'000);
    return error_of([&] { subject.quantize(); });
  };
  const auto full = Catch::Matchers::ContainsSubstring("cannot be written: File too large");
  subject.options.resumable = false;
  CHECK_THAT(quantize(), full);
  CHECK(listing(subject.folder / ".") == before);
  subject.options.resumable = true;
  CHECK_THAT(quantize(), full && Catch::Matchers::ContainsSubstring("; what is finished is in "));
  CHECK_FALSE(std::filesystem::exists(subject.out));
  CHECK(subject.quantize().resumed_layers == 3);
  CHECK(listing(subject.out) == expected);
}

TEST_CASE("a disk that is full while a layer is written leaves the layers before it") {
  Subject subject;
  const std::vector<std::string> expected = subject.expected();
  const std::vector<std::string> before = listing(subject.folder / ".");
  const auto quantize = [&] {
    const FileSizeLimit limit(4'000);  // run.json fits, a layer does not
    subject.quantize();
  };
  REQUIRE_ERROR(quantize(), "layer-0.safetensors: cannot be written: File too large");
  CHECK(listing(subject.folder / ".") == before);
  REQUIRE(subject.interrupt(60));
  const std::vector<std::string> kept = listing(subject.partial);
  try {
    quantize();
    FAIL("a layer was written");
  } catch (const UnfinishedError& error) {
    CHECK(error.kept() == subject.partial);
    CHECK_THAT(error.what(), Catch::Matchers::ContainsSubstring("layer-1.safetensors: cannot be"));
  }
  CHECK(listing(subject.partial) == kept);
  CHECK(subject.quantize().resumed_layers == 1);
  CHECK(listing(subject.out) == expected);
}
#endif

}  // namespace
}  // namespace nibble
