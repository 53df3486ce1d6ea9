#include <nibble/io/sharded_safetensors.hpp>

#include <nibble/io/safetensors_writer.hpp>

#include "io/io_test_support.hpp"
#include "support/fixtures.hpp"

namespace nibble {
namespace {

using test::as_bytes;
using test::TemporaryDirectory;

/// A file of one-byte tensors, each holding the first letter of its name.
void write_tensors(const std::filesystem::path& path, const std::vector<std::string>& names) {
  std::vector<TensorSource> sources;
  for (const std::string& name : names) {
    sources.push_back(tensor_source({name, DType::U8, {1}}, as_bytes(name).first(1)));
  }
  write_safetensors(path, sources);
}

void write_index(const TemporaryDirectory& directory, std::string_view weight_map) {
  test::write_bytes(
      directory / "model.safetensors.index.json",
      R"({"metadata": {"total_size": 3}, "weight_map": )" + std::string(weight_map) + "}");
}

TEST_CASE("a folder with one file is opened") {
  const TemporaryDirectory directory;
  write_tensors(directory / "model.safetensors", {"b", "a"});
  const auto model = ShardedSafetensors::open(directory.path());
  CHECK(model.names() == std::vector<std::string_view>{"a", "b"});
  CHECK(model.folder() == directory.path());
  CHECK(model.shards().size() == 1);
  CHECK(model.contains("a"));
  CHECK_FALSE(model.find("c"));
  CHECK(model.at("b").data[0] == std::byte{'b'});
  REQUIRE_ERROR(model.at("c"), ": no tensor \"c\"");
}

TEST_CASE("a folder with shards is one model") {
  const TemporaryDirectory directory;
  write_tensors(directory / "one.safetensors", {"a", "c"});
  write_tensors(directory / "two.safetensors", {"b"});
  write_index(directory, R"({"a":"one.safetensors","b":"two.safetensors","c":"one.safetensors"})");
  std::optional<TensorView> kept;
  {
    const auto model = ShardedSafetensors::open(directory.path());
    CHECK(model.shards().size() == 2);
    CHECK(model.names().size() == 3);
    CHECK(model.at("b").data[0] == std::byte{'b'});
    const auto copy = model;
    kept = copy.at("c");
  }
  CHECK(kept->data[0] == std::byte{'c'});
  CHECK(kept->name() == "c");
}

TEST_CASE("an index that does not fit its shards is refused") {
  const TemporaryDirectory directory;
  const auto open = [&] { return ShardedSafetensors::open(directory.path()); };
  REQUIRE_ERROR(open(), "holds neither model.safetensors nor model.safetensors.index.json");
  REQUIRE_ERROR(ShardedSafetensors::open(directory / "absent"),
                "expected a model folder, found nothing");

  write_tensors(directory / "one", {"a", "c"});
  write_tensors(directory / "two", {"b"});
  write_tensors(directory / "again", {"d", "c"});
  write_index(directory, R"({"a":"one","b":"one"})");
  REQUIRE_ERROR(open(), "index.json: tensor \"b\" is not in one, where the index has it");
  write_index(directory, R"({"a":"one","b":"two","c":"two"})");
  REQUIRE_ERROR(open(), "tensor \"c\" is not in two");
  write_index(directory, R"({"a":"one","d":"again"})");
  REQUIRE_ERROR(open(), "again: tensor \"c\" is also in one");
  write_index(directory, R"({"a":"one","b":"three"})");
  REQUIRE_ERROR(open(), "three: no such file");
  write_index(directory, R"({"a":"one","a":"one"})");
  REQUIRE_ERROR(open(), "duplicate key \"a\"");
  test::write_bytes(directory / "one", "broken");
  write_index(directory, R"({"a":"one"})");
  REQUIRE_ERROR(open(), "one: holds 6 bytes, too few");
}

TEST_CASE("an index of another structure is refused") {
  const auto parse = [](std::string_view text) {
    return parse_safetensors_index(parse_json(text, "i"), "i");
  };
  REQUIRE_ERROR(parse("[]"), "i: expected an object, found an array");
  REQUIRE_ERROR(parse("{}"), "i: field 'weight_map': missing");
  REQUIRE_ERROR(parse(R"({"weight_map":[]})"),
                "expected an object of tensor names, found an array");
  REQUIRE_ERROR(parse(R"({"weight_map":{}})"), "found an object of 0 fields");
  REQUIRE_ERROR(parse(R"({"weight_map":{"a":1}})"), "\"a\": expected a string, found 1");
}

TEST_CASE("an index cannot lead out of its folder") {
  for (const std::string name : {"", ".", "..", "../x", "a/b", "/etc/passwd", "a\\\\b", "C:x",
                                 "x..safetensors", "a\\u0000b", "a\\nb"}) {
    CAPTURE(name);
    const auto index = parse_json(R"({"weight_map":{"a":")" + name + "\"}}", "i");
    REQUIRE_ERROR(parse_safetensors_index(index, "i"),
                  "i: field 'weight_map': \"a\": expected the name of a file in the same folder");
  }
  CHECK(is_plain_file_name("model-00001-of-00002.safetensors"));
}

TEST_CASE("the sharded fixture is one model") {
  NIBBLE_REQUIRE_FIXTURES(fixtures);
  const auto model = ShardedSafetensors::open(fixtures / "models" / "novella-28m");
  CHECK(model.shards().size() == 5);
  expect_shape(model.at("model.norm.weight"), {512});
}

}  // namespace
}  // namespace nibble
