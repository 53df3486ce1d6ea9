#include "nibble/search/packed_bits_file.hpp"

#include <string>

#include "io/io_test_support.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

using namespace nibble;

namespace {

ByteMatrix random_bits(Index rows, Index cols) {
  test::Random random(81);
  ByteMatrix bits(rows, cols);
  for (std::uint8_t& byte : bits.reshaped()) {
    byte = test::random_integer<std::uint8_t>(random, 0, 255);
  }
  return bits;
}

}  // namespace

TEST_CASE("IndexBinaryFlat files, byte by byte", "[packed_bits_file]") {
  const test::TemporaryDirectory folder;
  const auto path = folder / "flat.faiss";
  ByteMatrix bits(2, 2);
  bits << 1, 2, 3, 4;
  write_faiss_binary_flat(path, bits);
  const std::string expected(
      "IBxF\x10\0\0\0\x02\0\0\0\x02\0\0\0\0\0\0\0\x01\x01\0\0\0\x04\0\0\0\0\0\0\0\x01\x02\x03\x04",
      37);
  CHECK(test::read_bytes(path) == expected);
  CHECK(read_faiss_binary_flat(path) == bits);
  for (const Index rows : {0, 1, 37}) {
    const ByteMatrix more = random_bits(rows, 128);
    write_faiss_binary_flat(path, more);
    CHECK(read_faiss_binary_flat(path) == more);
  }

  const auto read_changed = [&](std::size_t at, std::string_view bytes) {
    std::string changed = expected;
    changed.replace(at, bytes.size(), bytes);
    test::write_bytes(path, changed);
    return read_faiss_binary_flat(path);
  };
  REQUIRE_ERROR(read_changed(0, "IBwF"), "expected an IndexBinaryFlat (IBxF), found \"IBwF\"");
  REQUIRE_ERROR(read_changed(4, "\x11"), "codes of 17 bits");
  REQUIRE_ERROR(read_changed(12, "\x03"), "3 codes of 16 bits in 2 bytes each do not make 4");
  REQUIRE_ERROR(read_changed(12, "\xff\xff\xff\xff\xff\xff\xff\xff"), "-1 codes");
  REQUIRE_ERROR(read_changed(19, "\x40"), "do not make 4 bytes");
  for (std::size_t size = 1; size < expected.size(); ++size) {
    test::write_bytes(path, expected.substr(0, size));
    CHECK_FALSE(test::error_of([&] { static_cast<void>(read_faiss_binary_flat(path)); }).empty());
  }
  REQUIRE_ERROR(write_faiss_binary_flat(path, ByteMatrix(2, 0)), "codes of 0 bytes");
}

TEST_CASE("npy files as numpy writes them", "[packed_bits_file]") {
  const test::TemporaryDirectory folder;
  const auto path = folder / "bits.npy";
  ByteMatrix bits(2, 3);
  bits << 0, 127, 128, 255, 1, 200;
  write_npy_bits(path, bits);
  // numpy.save(path, bits)
  std::string expected("\x93NUMPY\x01\x00\x76\x00", 10);
  expected += "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }";
  expected.resize(127, ' ');
  expected += "\n";
  expected.append("\x00\x7f\x80\xff\x01\xc8", 6);
  CHECK(test::read_bytes(path) == expected);
  CHECK(read_npy_bits(path) == bits);

  const auto read_changed = [&](std::string_view from, std::string_view to) {
    std::string changed = expected;
    changed.replace(changed.find(from), from.size(), to);
    test::write_bytes(path, changed);
    return read_npy_bits(path);
  };
  ByteMatrix turned(2, 3);  // int8 + 128
  turned << 128, 255, 0, 127, 129, 72;
  CHECK(read_changed("|u1", "|i1") == turned);
  CHECK(read_changed("(2, 3)", "(3, 2)").rows() == 3);
  CHECK(read_changed("(2, 3)", "(2,3,)").rows() == 2);
  REQUIRE_ERROR(read_changed("|u1", "<f4"), "expected uint8 or int8");
  REQUIRE_ERROR(read_changed("False", "True "), "found columns");
  REQUIRE_ERROR(read_changed("(2, 3)", "(6,)  "), "expected a shape (rows, bytes), found (6,)");
  REQUIRE_ERROR(read_changed("(2, 3)", "(2, 4)"), "6 bytes of codes, expected 2 x 4");
  REQUIRE_ERROR(read_changed("(2, 3)", "(-2,3)"), "expected a shape");
  REQUIRE_ERROR(read_changed("shape", "shapo"), "the header has no shape");
  REQUIRE_ERROR(read_changed("NUMPY", "NUMPI"), "is not an .npy file");
  REQUIRE_ERROR(read_changed("\x76", "\x77"), "bytes of codes");
  for (std::size_t size = 1; size < expected.size(); ++size) {
    test::write_bytes(path, expected.substr(0, size));
    CHECK_FALSE(test::error_of([&] { static_cast<void>(read_npy_bits(path)); }).empty());
  }
}
