// Folders that are broken, each refused with a message that says where.

#include <limits>

#include <nibble/model/quantize_model.hpp>

#include "io/io_test_support.hpp"
#include "support/tiny_model.hpp"

namespace nibble {
namespace {

using namespace test;
using nlohmann::json;

void load_all(const std::filesystem::path& folder) {
  ThreadPool pool(1);
  static_cast<void>(loaded(ModelFolder(folder), pool));
}

TEST_CASE("a folder without a model is refused") {
  const TinyFolder folder;
  REQUIRE_ERROR(load_all(folder / "none"), "none: expected a model folder, found nothing");
  write_text_file(folder / "file", "x");
  REQUIRE_ERROR(load_all(folder / "file"), "file: expected a model folder, found a file");
  std::filesystem::create_directory(folder / "empty");
  REQUIRE_ERROR(load_all(folder / "empty"), "config.json");
  std::filesystem::copy_file(folder.path() / "config.json", folder / "empty" / "config.json");
  REQUIRE_ERROR(load_all(folder / "empty"),
                "empty: holds neither model.safetensors nor model.safetensors.index.json");
  write_text_file(folder / "empty" / "config.json", R"({"model_type": "llama")");
  REQUIRE_ERROR(load_all(folder / "empty"), "config.json");
  write_text_file(folder / "empty" / "config.json", R"({"model_type": "mamba"})");
  REQUIRE_ERROR(load_all(folder / "empty"), "config.json: field 'model_type'");
  write_text_file(folder.path() / "generation_config.json", R"({"top_p": 3})");
  REQUIRE_ERROR(folder.open().generation_defaults(), "generation_config.json: field 'top_p'");
  REQUIRE_ERROR(folder.open().tokenizer(), "tokenizer.json");
}

TEST_CASE("a float model's tensors that are missing, misshapen or of another type are refused") {
  const auto check = [](const char* name, const std::string& message,
                        const std::function<bool(TensorLayout&, std::vector<float>&)>& edit) {
    const TinyFolder folder({.edit = [&](TensorLayout& layout, std::vector<float>& values) {
      return layout.name != name || edit(layout, values);
    }});
    REQUIRE_ERROR(load_all(folder.path()), message);
    // Refused before anything is written.
    ThreadPool pool(1);
    const std::vector<std::string> before = listing(folder / ".");
    REQUIRE_ERROR(quantize_folder(folder.open(), uniform_recipe("int4"), folder / "out",
                                  Existing::refuse, pool),
                  message);
    CHECK(listing(folder / ".") == before);
  };
  const char* k_proj = "model.layers.1.self_attn.k_proj.weight";
  const char* norm = "model.layers.0.input_layernorm.weight";
  const auto drop = [](TensorLayout&, std::vector<float>&) { return false; };
  for (const char* name : {k_proj, norm, "lm_head.weight", "model.embed_tokens.weight"}) {
    check(name, concat("no tensor \"", name, "\""), drop);
  }
  check(k_proj, "k_proj.weight\": expected shape [20, 24], found [24, 20]",
        [](TensorLayout& layout, std::vector<float>&) {
          std::swap(layout.shape[0], layout.shape[1]);
          return true;
        });
  check(k_proj, "k_proj.weight\": expected shape [20, 24], found [480]",
        [](TensorLayout& layout, std::vector<float>&) {
          layout.shape = {480};
          return true;
        });
  check(k_proj, "k_proj.weight\": expected shape [20, 24], found [19, 24]",
        [](TensorLayout& layout, std::vector<float>& values) {
          layout.shape[0] = 19;
          values.resize(19 * 24);
          return true;
        });
  check(norm, "input_layernorm.weight\": expected shape [24], found [1, 24]",
        [](TensorLayout& layout, std::vector<float>&) {
          layout.shape = {1, 24};
          return true;
        });
  for (const char* name : {k_proj, norm}) {
    check(name, "expected F32, F16 or BF16, found I32",
          [](TensorLayout& layout, std::vector<float>&) {
            layout.dtype = DType::I32;
            return true;
          });
  }
}

TEST_CASE("weights that are not finite are refused on loading, by place") {
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const auto check = [&](const char* name, const std::string& place) {
      const TinyFolder folder({.edit = [&](TensorLayout& layout, std::vector<float>& values) {
        if (layout.name == name) values[20] = value;
        return true;
      }});
      REQUIRE_ERROR(load_all(folder.path()),
                    concat("tensor '", name, "': weight ", place, " is ", value));
    };
    check("model.layers.0.mlp.down_proj.weight", "[0][20]");
    check("lm_head.weight", "[0][20]");
    check("model.layers.1.post_attention_layernorm.weight", "[0][20]");
  }
}

TEST_CASE("a truncated weight file is refused at every length") {
  const TinyFolder folder;
  const auto path = folder.path() / "model.safetensors";
  const std::string bytes = read_bytes(path);
  for (std::size_t length = 0; length < bytes.size(); length += 1 + length / 3) {
    CAPTURE(length);
    write_bytes(path, bytes.substr(0, length));
    REQUIRE_ERROR(load_all(folder.path()), "model.safetensors");
  }
  write_bytes(path, bytes.substr(0, bytes.size() - 1));
  REQUIRE_ERROR(load_all(folder.path()), "model.safetensors");
  write_bytes(path, bytes);
  CHECK_NOTHROW(load_all(folder.path()));
}

// ---- packed checkpoints -------------------------------------------------------------------------

/// A packed model, and ways to spoil it.
class Packed {
 public:
  Packed() : Packed("int4", {32, true}) {}
  explicit Packed(std::string_view format, const FormatOptions& options = {}) {
    ThreadPool pool(1);
    quantize_folder(folder_.open(), uniform_recipe(format, options), path(), Existing::refuse,
                    pool);
  }

  [[nodiscard]] std::filesystem::path path() const { return folder_ / "packed"; }
  [[nodiscard]] std::filesystem::path file() const { return path() / "model.safetensors"; }

  /// Writes the checkpoint anew after changes; requires that loading it fails with `message`.
  void check(const std::string& message,
             const std::function<void(SafetensorsMetadata&, std::vector<TensorLayout>&,
                                      std::vector<std::string>&)>& edit) const {
    const std::string before = read_bytes(file());
    const std::string text = [&] {
      const SafetensorsFile original = SafetensorsFile::open(file());
      SafetensorsMetadata metadata = original.metadata();
      std::vector<TensorLayout> layouts;
      std::vector<std::string> contents;
      for (const TensorInfo& info : original.tensors()) {
        const auto data = original.view(info).data;
        layouts.push_back({info.name, info.dtype, info.shape});
        contents.emplace_back(reinterpret_cast<const char*>(data.data()), data.size());
      }
      edit(metadata, layouts, contents);
      SafetensorsWriter writer(folder_ / "spoilt", layouts, metadata);
      for (std::size_t i = 0; i < layouts.size(); ++i) {
        writer.write(layouts[i].name, as_bytes(contents[i]));
      }
      writer.commit();
      return read_bytes(folder_ / "spoilt");
    }();
    write_bytes(file(), text);
    REQUIRE_ERROR(load_all(path()), message);
    CHECK(error_of([&] { load_all(path()); }).find("model.safetensors") != std::string::npos);
    write_bytes(file(), before);
  }

  void check_metadata(const std::string& message,
                      const std::function<void(SafetensorsMetadata&)>& edit) const {
    check(message, [&](SafetensorsMetadata& metadata, auto&, auto&) { edit(metadata); });
  }

  /// Patches what the metadata says of one matrix.
  void check_entry(const std::string& message, const json& patch) const {
    CAPTURE(patch.dump());
    check_metadata(message, [&](SafetensorsMetadata& metadata) {
      json matrices = json::parse(metadata.at("nibble.matrices"));
      matrices.at(matrix).merge_patch(patch);
      metadata["nibble.matrices"] = matrices.dump();
    });
  }

  static constexpr const char* matrix = "model.layers.1.mlp.gate_proj.weight";

 private:
  TinyFolder folder_;
};

TEST_CASE("a packed checkpoint without good metadata is refused") {
  const Packed packed;
  CHECK_NOTHROW(load_all(packed.path()));
  packed.check_metadata("layout version \"2\", expected 1",
                        [](auto& metadata) { metadata["nibble.layout_version"] = "2"; });
  packed.check_metadata("layout version \"\", expected 1",
                        [](auto& metadata) { metadata["nibble.layout_version"] = ""; });
  packed.check_metadata("the metadata lacks nibble.layout_version or nibble.matrices",
                        [](auto& metadata) { metadata.erase("nibble.layout_version"); });
  packed.check_metadata("the metadata lacks",
                        [](auto& metadata) { metadata.erase("nibble.matrices"); });
  packed.check_metadata("the metadata lacks", [](auto& metadata) { metadata.clear(); });
  const auto matrices = [&](const char* text, const std::string& message) {
    packed.check_metadata(message, [&](auto& metadata) { metadata["nibble.matrices"] = text; });
  };
  matrices("{\"a\": ", "nibble.matrices");
  matrices("", "nibble.matrices");
  matrices("[]", "nibble.matrices: expected an object, found an array");
  matrices("{\"a\": 5}", "nibble.matrices: \"a\": expected an object");
  matrices("{\"a\": {}}", "nibble.matrices: \"a\": field 'format': missing");
  matrices("{}", "no matrix \"model.embed_tokens.weight\"");
  matrices((std::string(100000, '[') + std::string(100000, ']')).c_str(), "nibble.matrices");
}

TEST_CASE("a packed matrix that is not what it should be is refused") {
  const Packed packed;
  const std::string entry = concat("nibble.matrices: \"", Packed::matrix, "\": ");
  packed.check_entry(entry + "unknown format 'int5'", {{"format", "int5"}});
  packed.check_entry(entry + "format int4: group size 48", {{"group", 48}});
  packed.check_entry(entry + "format int4: group size -32", {{"group", -32}});
  packed.check_entry(entry + "format int4 has no range per tensor", {{"per_tensor", true}});
  packed.check_entry(entry + "field 'format': missing", {{"format", nullptr}});
  packed.check_entry("field 'rows'", {{"rows", "37"}});
  packed.check_entry("field 'rows'", {{"rows", 1e300}});
  packed.check_entry("field 'asymmetric'", {{"asymmetric", 1}});
  const std::string matrix = concat("matrix \"", Packed::matrix, "\": ");
  packed.check_entry(matrix + "expected 37 x 24, found 36 x 24", {{"rows", 36}});
  packed.check_entry(matrix + "expected 37 x 24, found -37 x 24", {{"rows", -37}});
  packed.check_entry(matrix + "expected 37 x 24, found 37 x 9223372036854775807",
                     {{"cols", std::numeric_limits<std::int64_t>::max()}});
  const std::string tensor = concat("tensor \"", Packed::matrix, "\": ");
  packed.check_entry(tensor + "expected shape [3, 448], found", {{"format", "int8"}});
  packed.check_entry(tensor + "expected shape [3, 1536], found",
                     {{"format", "float32"}, {"group", 0}, {"asymmetric", false}});

  const auto in_matrix = [](auto& layouts) {
    for (std::size_t i = 0;; ++i) {
      if (layouts.at(i).name == Packed::matrix) return i;
    }
  };
  packed.check(tensor + "expected shape [3, 256], found [",
               [&](auto&, auto& layouts, auto& contents) {
                 const std::size_t i = in_matrix(layouts);
                 contents[i].resize(contents[i].size() - 64);
                 layouts[i].shape = {static_cast<Index>(contents[i].size())};
               });
  packed.check(tensor + "expected shape [3, 256], found [",
               [&](auto&, auto& layouts, auto& contents) {
                 const std::size_t i = in_matrix(layouts);
                 contents[i].clear();
                 layouts[i].shape = {0, 64};
               });
  packed.check(tensor + "expected U8, found F32", [&](auto&, auto& layouts, auto& contents) {
    const std::size_t i = in_matrix(layouts);
    layouts[i].dtype = DType::F32;
    layouts[i].shape = {static_cast<Index>(contents[i].size() / 4)};
  });
  packed.check(concat("no tensor \"", Packed::matrix, "\""),
               [&](auto&, auto& layouts, auto&) { layouts[in_matrix(layouts)].name = "x"; });
}

/// The bytes of Packed::matrix with some of them overwritten.
template <class T>
void check_spoilt_matrix(const Packed& packed, const std::string& message, std::size_t offset,
                         T value) {
  packed.check(concat("tensor \"", Packed::matrix, "\": ", message),
               [&](auto&, const auto& layouts, auto& contents) {
                 for (std::size_t i = 0; i < layouts.size(); ++i) {
                   if (layouts[i].name != Packed::matrix) continue;
                   std::memcpy(contents[i].data() + offset, &value, sizeof value);
                 }
               });
}

TEST_CASE("scales and zero points that no quantizer writes are refused by place") {
  // int4, asymmetric, one group: 16 scales of two bytes, 16 zero points, padding.
  const Packed packed;
  constexpr std::size_t panel = 256;
  constexpr std::uint16_t infinity = 0x7C00, nan = 0x7E00;
  check_spoilt_matrix(packed, "panel 0: scale [0][0] is inf", 0, infinity);
  check_spoilt_matrix(packed, "panel 2: scale [0][3] is nan", 2 * panel + 6, nan);
  check_spoilt_matrix(packed, "panel 1: zero point [0][15] is 16, above 15", panel + 32 + 15,
                      std::uint8_t{16});
  check_spoilt_matrix(packed, "panel 0: zero point [0][0] is 255, above 15", 32, std::uint8_t{255});
}

TEST_CASE("ranges that are not finite are refused by place") {
  // zero-one-int8, one group: 16 minima of four bytes, then 16 maxima.
  const Packed packed("zero-one-int8");
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  check_spoilt_matrix(packed, "panel 0: range [0][1] is nan to ", 4, nan);
  check_spoilt_matrix(packed, "panel 0: range [0][2] is ", 64 + 8, infinity);
}

TEST_CASE("a packed vector that is not what it should be is refused") {
  const Packed packed;
  const auto spoil = [&](const std::string& message,
                         const std::function<void(TensorLayout&, std::string&)>& edit) {
    packed.check(message, [&](auto&, auto& layouts, auto& contents) {
      for (std::size_t i = 0; i < layouts.size(); ++i) {
        if (layouts[i].name == "model.norm.weight") edit(layouts[i], contents[i]);
      }
    });
  };
  spoil("no tensor \"model.norm.weight\"", [](TensorLayout& layout, auto&) { layout.name = "x"; });
  spoil("tensor \"model.norm.weight\": expected F32, found I32",
        [](TensorLayout& layout, auto&) { layout.dtype = DType::I32; });
  spoil("tensor \"model.norm.weight\": expected shape [24], found [12, 2]",
        [](TensorLayout& layout, auto&) {
          layout.shape = {12, 2};
        });
  spoil("tensor \"model.norm.weight\": holds nan", [](TensorLayout&, std::string& content) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(content.data() + 12, &nan, sizeof nan);
  });
}

TEST_CASE("a packed file whose data is not at a multiple of 64 is refused") {
  const Packed packed;
  std::string bytes = read_bytes(packed.file());
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), 8);
  bytes.insert(static_cast<std::size_t>(8 + header), 8, ' ');
  header += 8;
  std::memcpy(bytes.data(), &header, 8);
  write_bytes(packed.file(), bytes);
  REQUIRE_ERROR(load_all(packed.path()), "its bytes do not start at a multiple of 64");
}

TEST_CASE("a truncated packed file is refused at every length") {
  const Packed packed;
  const std::string bytes = read_bytes(packed.file());
  for (std::size_t length = 0; length < bytes.size(); length += 1 + length / 3) {
    CAPTURE(length);
    write_bytes(packed.file(), bytes.substr(0, length));
    REQUIRE_ERROR(load_all(packed.path()), "model.safetensors");
  }
  std::filesystem::remove(packed.file());
  REQUIRE_ERROR(load_all(packed.path()), "model.safetensors");
}

TEST_CASE("packed codes of any content neither crash nor hang") {
  const Packed packed("int4", {32, false});  // its headers are 64 bytes
  const std::vector<TokenId> ids = random_tokens(53, 40);
  for (const char filler : {'\0', '\x7f', '\xff'}) {
    const SafetensorsFile original = SafetensorsFile::open(packed.file());
    std::string bytes = read_bytes(packed.file());
    for (const TensorInfo& info : original.tensors()) {
      if (info.dtype != DType::U8) continue;
      const bool linear = info.name.find("_proj") != std::string::npos;  // others are floats
      for (Index panel = 0; panel < info.shape[0]; ++panel) {
        const auto first = bytes.begin() + static_cast<Index>(info.offset) + panel * info.shape[1];
        std::fill(first + (linear ? 64 : 0), first + info.shape[1], filler);
      }
    }
    const auto folder = packed.path().parent_path() / "filled";
    std::filesystem::create_directories(folder);
    write_bytes(folder / "model.safetensors", bytes);
    write_bytes(folder / "config.json", read_bytes(packed.path() / "config.json"));
    ThreadPool pool(2);
    const Decoder decoder = loaded(ModelFolder(folder), pool);
    for (const ActivationMode mode : {ActivationMode::Native, ActivationMode::Float}) {
      CHECK(logits_of(decoder, ids, pool, {.activations = mode}).rows() == 40);
    }
  }
}

}  // namespace
}  // namespace nibble
