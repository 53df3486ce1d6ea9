#include <nibble/model/quantize_model.hpp>

#include "io/io_test_support.hpp"
#include "support/matrices.hpp"
#include "support/tiny_model.hpp"

namespace nibble {
namespace {

using namespace test;

/// Wide enough for two groups of 128, the last one cut.
TinyModel wide_model() {
  return {.patch = {{"hidden_size", 140},
                    {"intermediate_size", 150},
                    {"num_hidden_layers", 1},
                    {"attention_bias", true}}};
}

Recipe every_matrix(const AnyFormat& format) {
  return {{{"*_proj.weight", false, RoundToNearest{}, format},
           {"model.embed_tokens.weight", false, RoundToNearest{}, format},
           {"lm_head.weight", false, RoundToNearest{}, format}}};
}

void check_round_trip(const TinyFolder& folder, const Recipe& recipe, ThreadPool& pool) {
  const ModelFolder model = folder.open();
  const auto out = folder / "out";
  const QuantizedFolder written = quantize_folder(model, recipe, out, Existing::replace, pool);
  const auto size = std::filesystem::file_size(out / "model.safetensors");
  CHECK(written.file_size == size);
  const QuantizedTensors tensors(model.float_tensors(), recipe);
  const PackedCheckpoint checkpoint(tensor_specs(model.config()), tensors);
  CHECK(checkpoint.file_size() == size);
  CHECK(checkpoint.bits_per_weight() == written.bits_per_weight);

  const ModelFolder packed(out);
  CHECK(packed.config().is_nibble);
  const Decoder from_file = loaded(packed, pool);
  const Decoder in_memory = quantized(model, recipe, pool);
  const std::vector<TokenId> ids = random_tokens(model.config().vocab_size, 30);
  for (const ActivationMode mode : {ActivationMode::Native, ActivationMode::Float}) {
    CHECK(same_bits(logits_of(from_file, ids, pool, {.activations = mode}),
                    logits_of(in_memory, ids, pool, {.activations = mode})));
  }
}

TEST_CASE("a saved model gives the bits of the one in memory, for every format") {
  ThreadPool pool(2);
  const TinyFolder folder(wide_model());
  for (const AnyFormat& format : all_formats()) {
    INFO(describe_format(format));
    check_round_trip(folder, every_matrix(format), pool);
  }
}

TEST_CASE("a saved model gives the bits of the one in memory, for mixed recipes and kinds") {
  ThreadPool pool(2);
  const Recipe mixed{{{"*.0.*q_proj.weight", false, RoundToNearest{}, make_format("int8")},
                      {"*.1.mlp.*", true, {}, {}},
                      {"*mlp*", false, RoundToNearest{}, make_format("int3", {32, true, false})},
                      {"*_proj.weight", false, RoundToNearest{}, make_format("int4", {64})}}};
  for (const DType dtype : {DType::F32, DType::F16, DType::BF16}) {
    for (const bool tied : {false, true}) {
      check_round_trip(TinyFolder({.patch = {{"tie_word_embeddings", tied}}, .dtype = dtype}),
                       mixed, pool);
    }
  }
  check_round_trip(TinyFolder({.patch = {{"model_type", "qwen3"}}}), mixed, pool);
  check_round_trip(TinyFolder({.patch = {{"mlp_bias", true}, {"attention_bias", true}}}), {}, pool);
}

TEST_CASE("the bits per weight are those of scales, offsets, codes and padding") {
  // One Linear of each shape: 40 = 3 panels by 24, 20 = 2 panels by 24 twice, 24 = 2 panels by 40,
  // 37 = 3 panels by 24 twice, 24 = 2 panels by 37.
  const TinyFolder folder({.patch = {{"num_hidden_layers", 1}}});
  const ModelFolder model = folder.open();
  const double weights = 40 * 24 + 2 * 20 * 24 + 24 * 40 + 2 * 37 * 24 + 24 * 37;
  const auto found = [&](std::string_view format, const FormatOptions& options = {}) {
    const QuantizedTensors tensors(model.float_tensors(), uniform_recipe(format, options));
    return PackedCheckpoint(tensor_specs(model.config()), tensors).bits_per_weight();
  };
  const auto bits = [&](double panels_of_24, double panels_of_40, double panels_of_37) {
    const double bytes = (3 + 2 + 2 + 3 + 3) * panels_of_24 + 2 * panels_of_40 + 2 * panels_of_37;
    return Approx(8 * bytes / weights).epsilon(1e-12);
  };
  const auto row = [](double inputs, double size) { return 16 * inputs * size; };
  CHECK(found("float32") == bits(row(24, 4), row(40, 4), row(37, 4)));
  // Panels end at a multiple of 64 bytes: 37 inputs of 32 bytes take the room of 38.
  CHECK(found("float16") == bits(row(24, 2), row(40, 2), row(38, 2)));
  CHECK(found("bfloat16") == bits(row(24, 2), row(40, 2), row(38, 2)));
  // 16 float16 scales are 32 bytes, padded to 64; the inputs to units of 4.
  CHECK(found("int8") == bits(64 + row(24, 1), 64 + row(40, 1), 64 + row(40, 1)));
  CHECK(found("zero-one-int8") == bits(128 + row(24, 1), 128 + row(40, 1), 128 + row(40, 1)));
  // Two groups of 32 where there are more than 32 inputs; units of 8, 32 and 16 inputs.
  CHECK(found("int4", {32}) == bits(64 + row(24, 0.5), 64 + row(40, 0.5), 64 + row(40, 0.5)));
  // With zeros, 3 bytes a group and row: 48 bytes, or 96.
  CHECK(found("int3", {32, true}) ==
        bits(64 + row(32, 0.375), 128 + row(64, 0.375), 128 + row(64, 0.375)));
  CHECK(found("int2", {64}) == bits(64 + row(32, 0.25), 64 + row(48, 0.25), 64 + row(48, 0.25)));
}

TEST_CASE("the same bytes are written on any number of threads, and every time") {
  const TinyFolder folder(wide_model());
  const ModelFolder model = folder.open();
  const Recipe recipe = every_matrix(make_format("int4", {32, true}));
  std::vector<std::string> first;
  for (const int threads : {1, 2, 3, 1}) {
    ThreadPool pool(threads);
    quantize_folder(model, recipe, folder / "out", Existing::replace, pool);
    const std::vector<std::string> files = listing(folder / "out");
    if (first.empty()) first = files;
    CHECK(files == first);
  }
}

TEST_CASE("loading borrows the mapped bytes and copies no matrix") {
  const TinyFolder folder(wide_model());
  ThreadPool pool(1);
  quantize_folder(folder.open(), every_matrix(make_format("int4")), folder / "out",
                  Existing::refuse, pool);
  const SafetensorsFile file = SafetensorsFile::open(folder / "out" / "model.safetensors");
  const auto mapping = file.at("lm_head.weight").owner;
  const PackedTensors tensors(file);  // shares the mapping
  std::size_t matrices = 0;
  for (const TensorSpec& spec : tensor_specs(folder.open().config())) {
    if (spec.role == TensorRole::Vector) continue;
    ++matrices;
    const TensorView view = file.at(spec.name);
    const AnyMatrix matrix = tensors.matrix(spec, pool);
    CHECK(matrix.bytes().data() == view.data.data());
    CHECK(matrix.bytes().size() == view.data.size());
    CHECK(reinterpret_cast<std::uintptr_t>(matrix.bytes().data()) % 64 == 0);
  }
  CHECK(matrices == 9);
  CHECK(mapping != nullptr);
}

TEST_CASE("a decoder keeps the mapped file alive after the folder is closed and deleted") {
  ThreadPool pool(1);
  const TinyFolder folder(wide_model());
  const Recipe recipe = uniform_recipe("int4");
  std::optional<Decoder> decoder;
  {
    quantize_folder(folder.open(), recipe, folder / "out", Existing::refuse, pool);
    decoder.emplace(loaded(ModelFolder(folder / "out"), pool));
    std::filesystem::remove_all(folder / "out");
  }
  const std::vector<TokenId> ids = random_tokens(53, 9);
  CHECK(same_bits(logits_of(*decoder, ids, pool),
                  logits_of(quantized(folder.open(), recipe, pool), ids, pool)));
}

TEST_CASE("a written folder has its recipe and the model's other files") {
  const TinyFolder folder;
  write_text_file(folder.path() / "tokenizer.json", "{not read here}");
  write_text_file(folder.path() / "generation_config.json", R"({"eos_token_id": [5, 6]})");
  write_text_file(folder.path() / "notes.txt", "of no concern");
  ThreadPool pool(1);
  const Recipe recipe = uniform_recipe("int3", {64});
  quantize_folder(folder.open(), recipe, folder / "out", Existing::refuse, pool);
  CHECK(read_bytes(folder / "out/tokenizer.json") == "{not read here}");
  CHECK(std::filesystem::exists(folder / "out/generation_config.json"));
  CHECK_FALSE(std::filesystem::exists(folder / "out/notes.txt"));
  const ModelFolder out(folder / "out");
  const nlohmann::json& entry = out.config_json().at("quantization_config");
  CHECK(entry.at("quant_method") == "nibble");
  CHECK(entry.at("layout_version") == layout_version);
  CHECK(entry.at("recipe") == recipe_to_json(recipe));
  CHECK(out.generation_defaults().eos_ids == std::vector<TokenId>{5, 6});
  CHECK(folder.open().config().eos_ids == std::vector<TokenId>{1});
}

// ---- failures leave nothing behind --------------------------------------------------------------

TEST_CASE("quantizing in place, over something else or twice is refused, and nothing changes") {
  const TinyFolder folder;
  const ModelFolder model = folder.open();
  const Recipe recipe = uniform_recipe("int8");
  ThreadPool pool(1);
  quantize_folder(model, recipe, folder / "packed", Existing::refuse, pool);
  std::filesystem::create_directory(folder / "notes");
  write_text_file(folder / "notes" / "a.txt", "keep me");
  write_text_file(folder / "file", "x");
  std::filesystem::create_directory_symlink(folder.path(), folder / "link");
  const std::vector<std::string> before = listing(folder / ".");
  const auto refused = [&](const ModelFolder& from, const std::filesystem::path& out,
                           Existing existing, const std::string& message) {
    REQUIRE_ERROR(quantize_folder(from, recipe, out, existing, pool), message);
    CHECK(listing(folder / ".") == before);
  };
  refused(model, folder.path(), Existing::replace, "is the model to be quantized");
  refused(model, folder.path() / "", Existing::replace, "is the model to be quantized");
  refused(model, folder / "link", Existing::replace, "is the model to be quantized");
  refused(model, folder / "packed", Existing::refuse, "packed: exists already");
  refused(model, folder / "file", Existing::replace, "file: exists and is not a folder");
  refused(model, folder / "file/out", Existing::refuse, "file: no such directory");
  refused(model, folder / "none/out", Existing::refuse, "none: no such directory");
  refused(model, folder / "notes", Existing::replace, "notes: not replaced, since it is no model");
  refused(model, "", Existing::refuse, "not the name of a folder");
  const ModelFolder packed(folder / "packed");
  refused(packed, folder / "again", Existing::refuse,
          "packed: is quantized already; quantize from the original model");
  REQUIRE_ERROR(quantized(packed, recipe, pool), "packed: is quantized already");

  quantize_folder(model, uniform_recipe("int4"), folder / "packed", Existing::replace, pool);
  CHECK(listing(folder / ".") != before);
}

TEST_CASE("a cancelled quantization leaves nothing behind, wherever it is cancelled") {
  const TinyFolder folder;
  const ModelFolder model = folder.open();
  ThreadPool pool(2);
  const std::vector<std::string> before = listing(folder / ".");
  Index steps = 0;
  const Recipe recipe = uniform_recipe("int8");
  quantize_folder(model, recipe, folder / "out", Existing::refuse, pool,
                  [&](std::string_view stage, Index done, Index total) {
                    CHECK_FALSE(stage.empty());
                    CHECK(done <= total);
                    return ++steps > 0;
                  });
  std::filesystem::remove_all(folder / "out");
  REQUIRE(steps > 20);
  for (Index last = 0; last < steps; ++last) {
    Index step = 0;
    CHECK_THROWS_AS(quantize_folder(model, recipe, folder / "out", Existing::refuse, pool,
                                    [&](std::string_view, Index, Index) { return step++ < last; }),
                    Cancelled);
    CHECK(listing(folder / ".") == before);
  }
  Index step = 0;
  CHECK_THROWS_AS(quantize_model(model, recipe, pool,
                                 [&](std::string_view, Index, Index) { return step++ < 5; }),
                  Cancelled);
}

TEST_CASE("weights that cannot be quantized are named, and nothing is left behind") {
  ThreadPool pool(2);
  const auto with = [](const char* tensor, float value) {
    return TinyModel{.edit = [tensor, value](TensorLayout& layout, std::vector<float>& values) {
      if (layout.name == tensor) values[31 % values.size()] = value;
      return true;
    }};
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const auto check = [&](const TinyModel& broken, std::string_view format,
                         const std::string& message) {
    const TinyFolder folder(broken);
    const std::vector<std::string> before = listing(folder / ".");
    const ModelFolder model = folder.open();
    REQUIRE_ERROR(
        quantize_folder(model, uniform_recipe(format), folder / "out", Existing::refuse, pool),
        message);
    CHECK(listing(folder / ".") == before);
    REQUIRE_ERROR(quantized(model, uniform_recipe(format), pool), message);
  };
  const char* up = "model.layers.1.mlp.up_proj.weight";
  for (const std::string_view format : Formats::names) {
    CAPTURE(format);
    check(with(up, nan), format,
          "tensor 'model.layers.1.mlp.up_proj.weight': weight [1][7] is nan");
    check(with(up, -std::numeric_limits<float>::infinity()), format,
          "tensor 'model.layers.1.mlp.up_proj.weight': weight [1][7] is -inf");
  }
  check(with(up, 1e10F), "int4", "tensor 'model.layers.1.mlp.up_proj.weight': a group's scale is");
  check(with(up, 1e10F), "float16", "weight [1][7] is 1e+10, beyond float16's largest");
  check(with("model.norm.weight", nan), "int8", "tensor 'model.norm.weight': weight [0][7] is nan");
  check(with("model.embed_tokens.weight", nan), "int8",
        "tensor 'model.embed_tokens.weight': weight [1][7] is nan");
}

}  // namespace
}  // namespace nibble
