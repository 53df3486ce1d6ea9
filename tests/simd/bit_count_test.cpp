#include "nibble/simd/bit_count.hpp"

#include <bit>
#include <cstdint>
#include <vector>

#include "support/catch.hpp"
#include "support/isas.hpp"
#include "support/random.hpp"

using namespace nibble;

TEMPLATE_LIST_TEST_CASE("bits are counted", "[bit_count]", test::Isas) {
  using Isa = TestType;
  test::Random random(71);
  std::vector<std::uint8_t> bytes(simd::bit_count_rows * simd::bit_block_bytes + 1);
  for (std::uint8_t& byte : bytes) byte = test::random_integer<std::uint8_t>(random, 0, 255);
  for (std::size_t i = 0; i < 64; ++i) bytes[1 + i] = 0xFF;  // the first row: all of them
  for (Index used = 1; used <= simd::bit_block_bytes; ++used) {
    auto counts = simd::BitCounts<Isa>::zero();
    std::int32_t expected[simd::bit_count_rows] = {};
    for (std::size_t r = 0; r < simd::bit_count_rows; ++r) {
      const std::uint8_t* row = bytes.data() + 1 + 64 * r;  // at an odd address
      simd::add_bit_count(counts, r, simd::load_bits<Isa>(row));
      simd::add_bit_count(counts, r, simd::load_bits<Isa>(row, used));
      for (Index i = 0; i < 64; ++i) expected[r] += (i < used ? 2 : 1) * std::popcount(row[i]);
    }
    std::int32_t sums[simd::bit_count_rows];
    simd::store_bit_counts(counts, sums);
    for (std::size_t r = 0; r < simd::bit_count_rows; ++r) CHECK(sums[r] == expected[r]);
  }
}

TEMPLATE_LIST_TEST_CASE("the rest of a block reads nothing beyond", "[bit_count]", test::Isas) {
  using Isa = TestType;
  for (std::size_t size = 1; size <= 64; ++size) {
    const std::vector<std::uint8_t> bytes(size, 0xFF);  // its end is what sanitizers watch
    auto counts = simd::BitCounts<Isa>::zero();
    simd::add_bit_count(counts, 7, simd::load_bits<Isa>(bytes.data(), static_cast<Index>(size)));
    std::int32_t sums[simd::bit_count_rows];
    simd::store_bit_counts(counts, sums);
    CHECK(sums[7] == static_cast<std::int32_t>(8 * size));
    CHECK(sums[0] == 0);
  }
}
