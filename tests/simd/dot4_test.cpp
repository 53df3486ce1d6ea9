#include "nibble/simd/dot4.hpp"

#include <array>
#include <cstdint>
#include <cstring>

#include "support/catch.hpp"
#include "support/isas.hpp"
#include "support/random.hpp"

using nibble::simd::Ints;
using nibble::simd::lane_count;
using nibble::simd::Words;

namespace {

using Codes = std::array<std::uint8_t, 4 * lane_count>;
using Sums = std::array<std::int32_t, lane_count>;

template <class Isa, int CodeBits = 8>
Sums dot4(const Sums& accumulator, const Codes& codes, const std::int8_t* activations) {
  std::array<std::uint32_t, lane_count> words{};
  std::memcpy(words.data(), codes.data(), sizeof words);
  Sums result{};
  nibble::simd::dot4<CodeBits>(Ints<Isa>::load(accumulator.data()), Words<Isa>::load(words.data()),
                               activations)
      .store(result.data());
  return result;
}

Sums plain_dot4(Sums sums, const Codes& codes, const std::int8_t* activations) {
  for (std::size_t lane = 0; lane < lane_count; ++lane) {
    for (std::size_t j = 0; j < 4; ++j) sums[lane] += codes[4 * lane + j] * activations[j];
  }
  return sums;
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("dot4 is exact at the ends of its range", "[dot4]", nibble::test::Isas) {
  const std::array<int, 5> codes_of_quad = {0, 1, 127, 128, 255};
  const std::array<int, 5> activations_of_quad = {-127, -1, 0, 1, 127};
  // Every code of one byte beside every other of the three others, against all such activations.
  for (const int first_code : codes_of_quad) {
    for (const int rest_code : codes_of_quad) {
      Codes codes;
      codes.fill(static_cast<std::uint8_t>(rest_code));
      for (std::size_t lane = 0; lane < lane_count; ++lane) {
        codes[4 * lane + lane % 4] = static_cast<std::uint8_t>(first_code);
      }
      for (const int first : activations_of_quad) {
        for (const int rest : activations_of_quad) {
          const auto a = static_cast<std::int8_t>(first);
          const auto b = static_cast<std::int8_t>(rest);
          const std::int8_t activations[4] = {a, b, b, b};
          Sums sums;
          sums.fill(1000000);
          CAPTURE(first_code, rest_code, first, rest);
          const Sums expected = plain_dot4(sums, codes, activations);
          CHECK(dot4<TestType>(sums, codes, activations) == expected);
          if (first_code < 128 && rest_code < 128) {
            CHECK(dot4<TestType, 7>(sums, codes, activations) == expected);
          }
        }
      }
    }
  }
}

TEMPLATE_LIST_TEST_CASE("dot4 of random codes and activations", "[dot4]", nibble::test::Isas) {
  nibble::test::Random random(2);
  int failures = 0;
  for (int i = 0; i < 2000; ++i) {
    Codes codes;
    for (auto& code : codes) code = nibble::test::random_integer<std::uint8_t>(random, 0, 255);
    std::int8_t activations[5];  // read at an odd address
    for (auto& x : activations) x = nibble::test::random_integer<std::int8_t>(random, -127, 127);
    Sums sums;
    for (auto& sum : sums) sum = nibble::test::random_integer(random, -(1 << 24), 1 << 24);
    failures +=
        dot4<TestType>(sums, codes, activations + 1) != plain_dot4(sums, codes, activations + 1);
    for (auto& code : codes) code &= 127;
    failures +=
        dot4<TestType, 7>(sums, codes, activations + 1) != plain_dot4(sums, codes, activations + 1);
  }
  CHECK(failures == 0);
}

TEMPLATE_LIST_TEST_CASE("bytes are subtracted without borrowing", "[dot4]", nibble::test::Isas) {
  for (unsigned a = 0; a < 256; ++a) {
    std::array<std::uint32_t, lane_count> minuends{}, subtrahends{}, found{};
    for (unsigned b = 0; b < 256; b += 4 * lane_count) {
      Codes first, second, expected;
      for (unsigned i = 0; i < first.size(); ++i) {
        first[i] = static_cast<std::uint8_t>(i % 3 == 0 ? a : a + i);
        second[i] = static_cast<std::uint8_t>(b + i);
        expected[i] = static_cast<std::uint8_t>(first[i] - second[i]);
      }
      std::memcpy(minuends.data(), first.data(), sizeof minuends);
      std::memcpy(subtrahends.data(), second.data(), sizeof subtrahends);
      nibble::simd::subtract_bytes(Words<TestType>::load(minuends.data()),
                                   Words<TestType>::load(subtrahends.data()))
          .store(found.data());
      CAPTURE(a, b);
      CHECK(std::memcmp(found.data(), expected.data(), sizeof found) == 0);
    }
  }
}
