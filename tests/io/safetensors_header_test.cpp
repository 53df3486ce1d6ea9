#include <nibble/io/safetensors_header.hpp>

#include "io/io_test_support.hpp"

namespace nibble {
namespace {

using test::as_bytes;
using test::safetensors_bytes;

SafetensorsHeader parse(std::string_view header, std::size_t data_size) {
  const std::string bytes = safetensors_bytes(header, data_size);
  return parse_safetensors_header(as_bytes(bytes), bytes.size(), "f");
}

TEST_CASE("element types have the names and sizes of the format") {
  for (std::size_t i = 0; i < detail::dtype_table.size(); ++i) {
    const auto type = static_cast<DType>(i);
    CHECK(find_dtype(dtype_name(type)) == type);
  }
  CHECK(dtype_bits(DType::BOOL) == 8);
  CHECK(dtype_bits(DType::BF16) == 16);
  CHECK(dtype_bits(DType::F64) == 64);
  CHECK(dtype_name(DType::F8_E4M3) == "F8_E4M3");
  CHECK(dtype_name(DType::C64) == "C64");
  CHECK_FALSE(find_dtype("f16"));
}

TEST_CASE("a header is read in full") {
  const auto header = parse(
      R"({"b":{"shape":[],"data_offsets":[12,14],"dtype":"F16"},
          "__metadata__":{"format":"pt","":"x"},
          "e":{"dtype":"F32","shape":[3,0],"data_offsets":[12,12]},
          "a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}   )",
      14);
  CHECK(header.metadata == std::map<std::string, std::string>{{"", "x"}, {"format", "pt"}});
  REQUIRE(header.tensors.size() == 3);
  const TensorInfo& a = header.tensors[0];
  CHECK(a.name == "a");
  CHECK(a.dtype == DType::BF16);
  CHECK(a.shape == std::vector<Index>{2, 3});
  CHECK(a.offset == header.data_offset);
  CHECK(a.size == 12);
  CHECK(a.elements() == 6);
  CHECK(header.tensors[1].name == "e");
  CHECK(header.tensors[1].elements() == 0);
  CHECK(header.tensors[2].shape.empty());
  CHECK(header.tensors[2].elements() == 1);
  CHECK(header.by_name == std::vector<std::size_t>{0, 2, 1});
}

TEST_CASE("headers without tensors or with narrow types are read") {
  CHECK(parse("{}", 0).tensors.empty());
  CHECK(parse(R"({"__metadata__":{}})", 0).tensors.empty());
  CHECK(parse(R"({"x":{"dtype":"F4","shape":[3,2],"data_offsets":[0,3]}})", 3)
            .tensors[0]
            .elements() == 6);
  CHECK(parse(R"({"x":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}})", 3)
            .tensors[0]
            .elements() == 4);
  // Empty, so its other dimensions do not matter.
  const auto empty =
      parse(R"({"x":{"dtype":"F32","shape":[0,9223372036854775807,9223372036854775807],)"
            R"("data_offsets":[0,0]}})",
            0);
  CHECK(empty.tensors[0].size == 0);
}

TEST_CASE("a header length beyond the file or the format's limit is refused") {
  const auto parse_raw = [](std::string_view bytes, std::uint64_t size) {
    return parse_safetensors_header(as_bytes(bytes), size, "f");
  };
  REQUIRE_ERROR(parse_raw("1234567", 7), "f: holds 7 bytes, too few for a safetensors file");
  REQUIRE_ERROR(parse_raw("", 0), "too few");
  for (const std::uint64_t length :
       {std::uint64_t{3}, std::uint64_t{100'000'001}, ~std::uint64_t{0}, ~std::uint64_t{0} - 7}) {
    std::string bytes(10, '{');
    std::memcpy(bytes.data(), &length, 8);
    REQUIRE_ERROR(parse_raw(bytes, bytes.size()),
                  "f: header length " + std::to_string(length) + ", expected at most 2");
  }
  std::string bytes(10, '{');
  const std::uint64_t length = 100'000'001;
  std::memcpy(bytes.data(), &length, 8);
  REQUIRE_ERROR(parse_raw(bytes, 1'000'000'000), "expected at most 100000000");
  REQUIRE_ERROR(parse_raw(safetensors_bytes("", 3), 11), "does not start with '{'");
  REQUIRE_ERROR(parse_raw(safetensors_bytes(" {}", 0), 11), "does not start with '{'");
}

TEST_CASE("a truncated file is refused at every length") {
  const std::string whole =
      safetensors_bytes(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    CAPTURE(size);
    const auto part = std::string_view(whole).substr(0, size);
    CHECK_THROWS_AS(parse_safetensors_header(as_bytes(part), size, "f"), Error);
  }
  CHECK_NOTHROW(parse_safetensors_header(as_bytes(whole), whole.size(), "f"));
}

TEST_CASE("tensors that do not fill the data are refused by name") {
  const auto two = [](std::string_view first, std::string_view second) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + std::string(first) +
           R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + std::string(second) + "}}";
  };
  CHECK(parse(two("[4,8]", "[0,4]"), 8).tensors[0].name == "b");
  REQUIRE_ERROR(parse(two("[0,4]", "[3,7]"), 7),
                R"(f: tensor "b" starts at byte 3 of the data, expected 4 (it overlaps)");
  REQUIRE_ERROR(parse(two("[0,4]", "[0,4]"), 4), "expected 4 (it overlaps");
  REQUIRE_ERROR(parse(two("[0,4]", "[5,9]"), 9), "expected 4 (there is a gap");
  REQUIRE_ERROR(parse(two("[1,5]", "[5,9]"), 9), R"(tensor "a" starts at byte 1)");
  REQUIRE_ERROR(parse(two("[0,4]", "[4,8]"), 9), "1 bytes after the last tensor");
  REQUIRE_ERROR(parse("{}", 1), "1 bytes after the last tensor");
  REQUIRE_ERROR(parse(two("[0,4]", "[4,8]"), 7),
                R"(tensor "b": data_offsets [4, 8] do not lie within the 7 bytes)");
  REQUIRE_ERROR(parse(two("[0,4]", "[8,4]"), 8), "data_offsets [8, 4] do not lie");
  REQUIRE_ERROR(parse(two("[0,4]", "[4,18446744073709551615]"), 8), "do not lie within");
  REQUIRE_ERROR(parse(two("[0,5]", "[5,9]"), 9),
                R"(tensor "a": data_offsets [0, 5] hold 5 bytes, expected 4 for shape [4] of U8)");
}

TEST_CASE("shapes whose size overflows are refused") {
  const auto shaped = [](std::string_view shape, std::string_view type = "F32") {
    return parse(R"({"x":{"dtype":")" + std::string(type) + R"(","shape":)" + std::string(shape) +
                     R"(,"data_offsets":[0,4]}})",
                 4);
  };
  CHECK(shaped("[1,1,1,1,1,1,1,1]").tensors.size() == 1);
  REQUIRE_ERROR(shaped("[1,1,1,1,1,1,1,1,1]"), "more than 8 dimensions");
  REQUIRE_ERROR(shaped("[4294967296,4294967296]"), "of F32 has no size in bytes");
  REQUIRE_ERROR(shaped("[9223372036854775807,2]"), "has no size in bytes");
  REQUIRE_ERROR(shaped("[4611686018427387905]"), "has no size in bytes");  // 4 + 2^64 bytes
  REQUIRE_ERROR(shaped("[9223372036854775808]"), "dimension 9223372036854775808 is too large");
  REQUIRE_ERROR(shaped("[18446744073709551616]"), "found a number that is not whole");
  REQUIRE_ERROR(shaped("[-1]"), "found a negative number, expected a size");
  REQUIRE_ERROR(shaped("[1.0]"), "found a number that is not whole, expected a size");
  REQUIRE_ERROR(shaped("[true]"), "found a boolean");
  REQUIRE_ERROR(shaped("[\"1\"]"), "found a string");
  REQUIRE_ERROR(shaped("[[1]]"), "found an array");
  REQUIRE_ERROR(shaped("[7]", "F4"), "of F4 has no size in bytes");
}

TEST_CASE("a header of another structure is refused") {
  const auto fields = [](std::string_view text) {
    return parse(R"({"x":{)" + std::string(text) + "}}", 4);
  };
  REQUIRE_ERROR(fields(R"("dtype":"F33","shape":[1],"data_offsets":[0,4])"),
                R"(f: header: byte 19: tensor "x": unknown dtype "F33")");
  REQUIRE_ERROR(fields(R"("shape":[1],"data_offsets":[0,4])"), "field 'dtype' is missing");
  REQUIRE_ERROR(fields(R"("dtype":"F32","data_offsets":[0,4])"), "field 'shape' is missing");
  REQUIRE_ERROR(fields(R"("dtype":"F32","shape":[1])"), "field 'data_offsets' is missing");
  REQUIRE_ERROR(fields(R"("dtype":"F32","dtype":"F32")"), R"(field "dtype" is given twice)");
  REQUIRE_ERROR(fields(R"("shape":[1],"shape":[1])"), R"(field "shape" is given twice)");
  REQUIRE_ERROR(fields(R"("extra":1)"), R"(unknown field "extra")");
  REQUIRE_ERROR(fields(R"("dtype":1)"), "found a number, expected a string");
  REQUIRE_ERROR(fields(R"("data_offsets":[0])"), "fewer than 2");
  REQUIRE_ERROR(fields(R"("data_offsets":[0,4,4])"), "found a number, expected 2 offsets");
  REQUIRE_ERROR(fields(R"("data_offsets":{})"), "found an object, expected an array");
  REQUIRE_ERROR(fields(R"("shape":null)"), "found null, expected an array");
  REQUIRE_ERROR(parse(R"({"x":[]})", 0), R"("x": found an array, expected an object)");
  REQUIRE_ERROR(parse(R"({"x":1})", 0), R"("x": found a number, expected an object)");
  REQUIRE_ERROR(parse(R"({"__metadata__":{"a":1}})", 0),
                "__metadata__: found a number, expected a string");
  REQUIRE_ERROR(parse(R"({"__metadata__":{"a":{}}})", 0), "found an object, expected a string");
  REQUIRE_ERROR(parse(R"({"":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})", 0),
                "a tensor without a name");
  REQUIRE_ERROR(parse(R"({} {})", 0), "header: byte");
  REQUIRE_ERROR(parse("{" + std::string(1'000'000, '['), 0), "header: byte 2: unexpected");
  REQUIRE_ERROR(parse("{\"a\":" + std::string(1'000'000, '['), 0), "found an array");
  REQUIRE_ERROR(parse(std::string_view("{}\0", 3), 0), "header: byte 2: a zero byte");
}

TEST_CASE("keys given twice in a header are refused") {
  const std::string x = R"("x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  REQUIRE_ERROR(parse("{" + x + "," + x + "}", 0), R"(f: tensor "x" is given twice)");
  REQUIRE_ERROR(parse(R"({"__metadata__":{"a":"1","a":"2"}})", 0),
                R"(__metadata__: duplicate key "a")");
  REQUIRE_ERROR(parse(R"({"__metadata__":{},"__metadata__":{}})", 0), "given twice");
}

}  // namespace
}  // namespace nibble
