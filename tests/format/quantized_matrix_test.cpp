#include "nibble/format/quantized_matrix.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "nibble/format/any_matrix.hpp"
#include "support/catch.hpp"
#include "support/matrices.hpp"

using namespace nibble;
using Catch::Matchers::ContainsSubstring;

namespace {

double bits(std::string_view name, const FormatOptions& options, Index rows, Index cols) {
  test::Random random(40);
  return test::random_matrix(make_format(name, options), rows, cols, random).bits_per_weight();
}

}  // namespace

TEST_CASE("bits per weight count everything that is stored", "[quantized_matrix]") {
  constexpr Index rows = 32;
  constexpr Index cols = 4096;
  CHECK(bits("float32", {}, rows, cols) == 32);
  CHECK(bits("float16", {}, rows, cols) == 16);
  CHECK(bits("bfloat16", {}, rows, cols) == 16);
  CHECK(bits("zero-one-int8", {}, rows, cols) == 8 + 64.0 / cols);  // two floats a row
  CHECK(bits("zero-one-int8", {.group_size = 32}, rows, cols) == 8 + 64.0 / 32);
  CHECK(bits("zero-one-int8", {.per_tensor = true}, rows, cols) == 8 + 64.0 / cols);
  CHECK(bits("int8", {}, rows, cols) == 8 + 32.0 / cols);  // one scale a row, padded to 64 bytes
  CHECK(bits("int8", {.group_size = 128}, rows, cols) == 8 + 16.0 / 128);
  CHECK(bits("int4", {}, rows, cols) == 4 + 16.0 / 128);
  CHECK(bits("int4", {.asymmetric = true}, rows, cols) == 4 + 24.0 / 128);
  CHECK(bits("int4", {.group_size = 32}, rows, cols) == 4 + 16.0 / 32);
  CHECK(bits("int3", {.asymmetric = true}, rows, cols) == 3 + 24.0 / 128);
  CHECK(bits("int2", {.group_size = 64, .asymmetric = true}, rows, cols) == 2 + 24.0 / 64);
  // One weight: 16 rows of a unit of 8 inputs, and a header of 64 bytes.
  CHECK(bits("int4", {}, 1, 1) == 8 * 128);
}

TEST_CASE("shapes that cannot be are refused", "[quantized_matrix]") {
  constexpr Index largest = std::numeric_limits<Index>::max();
  constexpr Index smallest = std::numeric_limits<Index>::min();
  for (const AnyFormat& format : test::all_formats()) {
    INFO(describe_format(format));
    for (const Index side : {Index{0}, Index{-1}, max_matrix_side + 1, largest, smallest}) {
      CHECK_THROWS_WITH(packed_bytes(format, side, 16), ContainsSubstring("expected sides"));
      CHECK_THROWS_WITH(packed_bytes(format, 16, side), ContainsSubstring("expected sides"));
      std::visit(
          [side](const auto& value) {
            CHECK_THROWS_AS(MatrixBuilder(value, side, 16), Error);
            CHECK_THROWS_AS(MatrixBuilder(value, 16, side), Error);
          },
          format);
    }
    const std::size_t bytes = packed_bytes(format, max_matrix_side, max_matrix_side);
    CHECK(bytes >= std::size_t{1} << 58);  // 2^60 weights of 2 bits and more, without wrapping
    CHECK(bytes <= std::size_t{1} << 63);
  }
}

TEST_CASE("formats that their make would refuse have no matrices", "[quantized_matrix]") {
  CHECK_THROWS_WITH(packed_bytes(GroupInt<4>{48, false}, 16, 16), ContainsSubstring("48"));
  CHECK_THROWS_AS(packed_bytes(GroupInt<4>{-32, false}, 16, 16), Error);
  CHECK_THROWS_AS(packed_bytes(ZeroOneInt8{32, true}, 16, 16), Error);
}

TEST_CASE("bytes of the wrong number or at the wrong address are refused", "[quantized_matrix]") {
  for (const AnyFormat& any_format : test::all_formats()) {
    INFO(describe_format(any_format));
    std::visit(
        [](const auto& format) {
          const std::size_t size = packed_bytes(format, 17, 33);
          const auto buffer = std::make_shared<AlignedBuffer>(size + alignment);
          const std::span<const std::byte> bytes = buffer->bytes();
          using M = QuantizedMatrix<std::decay_t<decltype(format)>>;
          CHECK_NOTHROW(M(format, 17, 33, bytes.first(size), buffer));
          CHECK_NOTHROW(M(format, 17, 33, bytes.subspan(alignment), buffer));
          for (const std::size_t wrong : {std::size_t{0}, size - 1, size + 1, size + alignment}) {
            CHECK_THROWS_WITH(M(format, 17, 33, bytes.first(wrong), buffer),
                              ContainsSubstring("expected " + std::to_string(size) + " bytes"));
          }
          CHECK_THROWS_AS(M(format, 33, 33, bytes.first(size), buffer), Error);
          for (const std::size_t offset : {1U, 4U, 32U}) {
            CHECK_THROWS_WITH(M(format, 17, 33, bytes.subspan(offset, size), buffer),
                              ContainsSubstring("multiple of 64"));
          }
        },
        any_format);
  }
}

TEST_CASE("copies share the bytes and keep them alive", "[quantized_matrix]") {
  test::Random random(41);
  auto first = std::make_unique<AnyMatrix>(test::random_matrix(make_format("int4"), 5, 40, random));
  const Matrix weights = first->dequantize();
  const AnyMatrix second = *first;
  CHECK(second.bytes().data() == first->bytes().data());
  first.reset();
  CHECK(second.dequantize() == weights);
}

TEST_CASE("a matrix of any format shows what the one inside does", "[any_matrix]") {
  test::Random random(42);
  for (const AnyFormat& format : test::all_formats()) {
    INFO(describe_format(format));
    const AnyMatrix any = test::random_matrix(format, 19, 70, random);
    CHECK(any.format() == format);
    CHECK(any.format_index() == format.index());
    CHECK(any.rows() == 19);
    CHECK(any.cols() == 70);
    const Matrix weights = any.dequantize();
    std::vector<float> row(70);
    any.dequantize_row(18, row);
    any.visit([&](const auto& matrix) {
      CHECK(any.bytes().data() == matrix.bytes().data());
      CHECK(any.bytes().size() == matrix.bytes().size());
      CHECK(any.view().data == matrix.view().data);
      CHECK(any.bits_per_weight() == matrix.bits_per_weight());
      int failures = 0;
      for (Index r = 0; r < 19; ++r) {
        for (Index c = 0; c < 70; ++c) {
          failures += weights(r, c) != matrix(r, c) || any(r, c) != matrix(r, c);
          if (r == 18) failures += row[static_cast<std::size_t>(c)] != matrix(r, c);
        }
      }
      CHECK(failures == 0);
    });
  }
}
