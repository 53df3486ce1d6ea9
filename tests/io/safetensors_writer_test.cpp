#include <nibble/io/safetensors_writer.hpp>

#include <numeric>

#include <nibble/io/safetensors.hpp>

#include "io/io_test_support.hpp"
#include "support/fixtures.hpp"

namespace nibble {
namespace {

using test::as_bytes;
using test::TemporaryDirectory;

TEST_CASE("a written file reads back, with aligned tensors") {
  const TemporaryDirectory directory;
  const auto path = directory / "f.safetensors";
  std::vector<std::uint8_t> data(256);
  std::iota(data.begin(), data.end(), std::uint8_t{0});
  const auto bytes = std::as_bytes(std::span<const std::uint8_t>(data));
  const std::vector<TensorSource> sources = {
      tensor_source({"odd", DType::U8, {3}}, bytes.first(3)),
      tensor_source({"small", DType::F32, {3}}, bytes.first(12)),
      tensor_source({"big", DType::BF16, {4, 16}}, bytes.subspan(64, 128)),
      tensor_source({"scalar \"\n\xc3\xbc", DType::F64, {}}, bytes.first(8)),
      tensor_source({"none", DType::F16, {0, 7}}, {}),
      tensor_source({"pieces", DType::I8, {64}}, {}),
  };
  auto streamed = sources;
  streamed.back().produce = [&](ByteSink sink) {
    sink(bytes.first(1));
    sink(bytes.subspan(1, 0));
    sink(bytes.subspan(1, 63));
  };
  const SafetensorsMetadata metadata = {{"format", "pt"}, {"b", "\x01 \"quoted\""}, {"a", ""}};
  write_safetensors(path, streamed, metadata);

  std::vector<TensorLayout> layouts;
  for (const auto& source : sources) layouts.push_back(source.layout);
  CHECK(std::filesystem::file_size(path) == safetensors_size(layouts, metadata));
  CHECK(entries(directory) == 1);

  const auto file = SafetensorsFile::open(path);
  CHECK(file.metadata() == metadata);
  REQUIRE(file.tensors().size() == sources.size());
  for (const auto& source : streamed) {
    CAPTURE(source.layout.name);
    const auto tensor = file.at(source.layout.name);
    CHECK(tensor.dtype() == source.layout.dtype);
    CHECK(tensor.info->shape == source.layout.shape);
    std::vector<std::byte> expected;
    const auto collect = [&](std::span<const std::byte> piece) {
      expected.insert(expected.end(), piece.begin(), piece.end());
    };
    source.produce(collect);
    CHECK(std::ranges::equal(tensor.data, expected));
    CHECK(tensor.info->offset %
              (tensor.info->size % 64 == 0 ? 64 : dtype_bits(tensor.dtype()) / 8) ==
          0);
  }

  const std::string first = test::read_bytes(path);
  write_safetensors(path, streamed, metadata, Sync::yes);
  CHECK(test::read_bytes(path) == first);
}

TEST_CASE("a file without tensors is legal") {
  const TemporaryDirectory directory;
  write_safetensors(directory / "f", {}, {});
  CHECK(SafetensorsFile::open(directory / "f").tensors().empty());
  CHECK(std::filesystem::file_size(directory / "f") == 64);
}

TEST_CASE("tensors may be written in any order, but whole") {
  const TemporaryDirectory directory;
  const std::vector<TensorLayout> layouts = {{"a", DType::U8, {64}}, {"b", DType::U8, {64}}};
  const std::string text(64, 'x');
  {
    SafetensorsWriter writer(directory / "f", layouts);
    CHECK(writer.plan().tensors[1].name == "b");
    writer.write("b", as_bytes(text).first(60));
    writer.write("a", as_bytes(text));
    writer.write("b", as_bytes(text).first(4));
    REQUIRE_ERROR(writer.write("b", as_bytes(text).first(1)),
                  "f: tensor \"b\": 65 bytes given, expected 64");
    REQUIRE_ERROR(writer.write("c", as_bytes(text)), "f: tensor \"c\" was not announced");
    writer.commit();
  }
  CHECK(std::ranges::equal(SafetensorsFile::open(directory / "f").at("b").data, as_bytes(text)));
  {
    SafetensorsWriter writer(directory / "g", layouts);
    writer.write("a", as_bytes(text));
    REQUIRE_ERROR(writer.commit(), "g: tensor \"b\": 0 bytes given, expected 64");
  }
  CHECK(entries(directory) == 1);
}

TEST_CASE("layouts that no file can have are refused") {
  const auto plan = [](std::vector<TensorLayout> layouts, SafetensorsMetadata metadata = {}) {
    return plan_safetensors(layouts, metadata);
  };
  constexpr Index most = std::numeric_limits<Index>::max();
  REQUIRE_ERROR(plan({{"", DType::U8, {1}}}), "not a name");
  REQUIRE_ERROR(plan({{"__metadata__", DType::U8, {1}}}), "not a name");
  REQUIRE_ERROR(plan({{"a", DType::U8, {1}}, {"a", DType::U8, {1}}}), "\"a\" is given twice");
  REQUIRE_ERROR(plan({{"a\xff", DType::U8, {1}}}), "is not UTF-8");
  REQUIRE_ERROR(plan({}, {{"k", "\xff"}}), "is not UTF-8");
  REQUIRE_ERROR(plan({{"a", DType::U8, {-1}}}), "shape [-1] is negative");
  REQUIRE_ERROR(plan({{"a", DType::F32, {most, most}}}), "has no size in bytes");
  REQUIRE_ERROR(plan({{"a", DType::U8, std::vector<Index>(9, 1)}}), "9 dimensions");
  std::vector<TensorLayout> many;
  for (int i = 0; i < 20; ++i) many.push_back({std::to_string(i), DType::U8, {most / 8}});
  REQUIRE_ERROR(plan(many), "sizes overflow");
}

TEST_CASE("what a source throws leaves no file and the old one in place") {
  const TemporaryDirectory directory;
  test::write_bytes(directory / "f", "old");
  const std::vector<TensorSource> sources = {{{"a", DType::U8, {4}}, [](ByteSink sink) {
                                                sink(as_bytes("12"));
                                                fail("a: interrupted");
                                              }}};
  REQUIRE_ERROR(write_safetensors(directory / "f", sources), "a: interrupted");
  CHECK(test::read_bytes(directory / "f") == "old");
  CHECK(entries(directory) == 1);
}

}  // namespace
}  // namespace nibble
