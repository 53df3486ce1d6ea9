#include <nibble/io/safetensors.hpp>

#include <algorithm>
#include <cmath>

#include "io/io_test_support.hpp"
#include "support/fixtures.hpp"

namespace nibble {
namespace {

using test::TemporaryDirectory;

TEST_CASE("tensors of a file are found and viewed in place") {
  const TemporaryDirectory directory;
  test::write_bytes(
      directory / "f.safetensors",
      test::safetensors_bytes(R"({"b":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                              R"("a":{"dtype":"U8","shape":[1,2],"data_offsets":[3,5]}})",
                              5));
  std::optional<TensorView> kept;
  {
    const auto file = SafetensorsFile::open(directory / "f.safetensors");
    CHECK(file.path() == directory / "f.safetensors");
    CHECK(file.tensors().size() == 2);
    CHECK(file.metadata().empty());
    CHECK_FALSE(file.find("c"));
    CHECK_FALSE(file.find(""));
    REQUIRE_ERROR(file.at("c"), "f.safetensors: no tensor \"c\"");
    kept = file.at("a");
  }
  // The view keeps the mapping.
  CHECK(kept->name() == "a");
  CHECK(shape_text(kept->shape()) == "[1, 2]");
  REQUIRE(kept->data.size() == 2);
  CHECK(kept->data[0] == std::byte{3});
  CHECK(kept->data[1] == std::byte{4});
  CHECK_NOTHROW(expect_shape(*kept, {1, 2}));
  CHECK_NOTHROW(expect_dtype(*kept, DType::U8));
  REQUIRE_ERROR(expect_shape(*kept, {2, 1}),
                "f.safetensors: tensor \"a\": expected shape [2, 1], found [1, 2]");
  REQUIRE_ERROR(expect_dtype(*kept, DType::F16), "tensor \"a\": expected F16, found U8");
  std::vector<float> out(2);
  REQUIRE_ERROR(read_floats(*kept, 0, out), "tensor \"a\": expected F32, F16 or BF16, found U8");
}

TEST_CASE("floats are converted wherever they lie") {
  const TemporaryDirectory directory;
  // One byte first, so that everything after it is unaligned.
  std::string bytes =
      test::safetensors_bytes(R"({"pad":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                              R"("half":{"dtype":"F16","shape":[3],"data_offsets":[1,7]},)"
                              R"("brain":{"dtype":"BF16","shape":[3],"data_offsets":[7,13]},)"
                              R"("float":{"dtype":"F32","shape":[2],"data_offsets":[13,21]},)"
                              R"("none":{"dtype":"F32","shape":[0],"data_offsets":[21,21]}})",
                              0);
  const std::uint16_t halves[] = {0x3C00, 0xC000, 0x7C00};
  const std::uint16_t brains[] = {0x3F80, 0xC040, 0x0001};
  const float floats[] = {1.5F, -0.1F};
  bytes += '\0';
  bytes.append(reinterpret_cast<const char*>(halves), sizeof halves);
  bytes.append(reinterpret_cast<const char*>(brains), sizeof brains);
  bytes.append(reinterpret_cast<const char*>(floats), sizeof floats);
  test::write_bytes(directory / "f", bytes);
  const auto file = SafetensorsFile::open(directory / "f");
  CHECK(read_floats(file.at("half")) == std::vector{1.0F, -2.0F, INFINITY});
  CHECK(read_floats(file.at("brain")) == std::vector{1.0F, -3.0F, std::ldexp(1.0F, -133)});
  CHECK(read_floats(file.at("float")) == std::vector{1.5F, -0.1F});
  CHECK(read_floats(file.at("none")).empty());
  float one = 0;
  read_floats(file.at("half"), 1, {&one, 1});
  CHECK(one == -2.0F);
  std::vector<float> two(2);
  REQUIRE_ERROR(read_floats(file.at("half"), 2, two),
                "tensor \"half\": elements 2 to 4 asked for, it holds 3");
  REQUIRE_ERROR(read_floats(file.at("half"), -1, two), "elements -1 to 1");
  CHECK_NOTHROW(read_floats(file.at("half"), 3, std::span<float>()));
}

TEST_CASE("a broken file is named") {
  const TemporaryDirectory directory;
  test::write_bytes(directory / "short", "123");
  REQUIRE_ERROR(SafetensorsFile::open(directory / "short"), "short: holds 3 bytes, too few");
  REQUIRE_ERROR(SafetensorsFile::open(directory / "absent"), "absent: no such file");
}

TEST_CASE("the model in examples is read") {
  const auto path = test::source_path("examples/models/novella-5m/model.safetensors");
  const auto file = SafetensorsFile::open(path);
  const auto embedding = file.at("model.embed_tokens.weight");
  expect_shape(embedding, {4096, 256});
  CHECK(std::ranges::all_of(read_floats(embedding), [](float x) { return std::isfinite(x); }));
  CHECK(file.metadata().at("format") == "pt");
}

}  // namespace
}  // namespace nibble
