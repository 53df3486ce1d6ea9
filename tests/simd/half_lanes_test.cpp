#include "nibble/simd/half_lanes.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "support/catch.hpp"
#include "support/isas.hpp"
#include "support/random.hpp"

using nibble::BFloat16;
using nibble::Float16;
using nibble::simd::Floats;
using nibble::simd::lane_count;

namespace {

/// Loads all 65,536 patterns of T and counts those that differ from the scalar conversion.
template <class Isa, class T>
int differing_loads() {
  std::vector<T> patterns;
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    patterns.push_back(T{static_cast<std::uint16_t>(bits)});
  }
  int failures = 0;
  for (std::size_t i = 0; i < patterns.size(); i += lane_count) {
    float loaded[lane_count];
    nibble::simd::load_floats<Isa>(patterns.data() + i).store(loaded);
    for (std::size_t j = 0; j < lane_count; ++j) {
      const float expected = nibble::to_float(patterns[i + j]);
      failures += std::isnan(expected) ? !std::isnan(loaded[j])
                                       : std::bit_cast<std::uint32_t>(expected) !=
                                             std::bit_cast<std::uint32_t>(loaded[j]);
    }
  }
  return failures;
}

/// Stores every 509th of all floats, and those around the middles between values of T, and counts
/// results that differ from the scalar conversion.
template <class Isa, class T>
int differing_stores() {
  std::vector<std::uint32_t> patterns;
  for (std::uint64_t bits = 0; bits < std::uint64_t{1} << 32; bits += 509) {
    patterns.push_back(static_cast<std::uint32_t>(bits));
  }
  for (std::uint32_t bits = 0; bits < 65535; ++bits) {
    const auto low =
        std::bit_cast<std::uint32_t>(nibble::to_float(T{static_cast<std::uint16_t>(bits)}));
    const auto high =
        std::bit_cast<std::uint32_t>(nibble::to_float(T{static_cast<std::uint16_t>(bits + 1)}));
    const std::uint32_t middle = low + (high - low) / 2;
    for (const std::uint32_t pattern : {low, middle - 1, middle, middle + 1}) {
      patterns.push_back(pattern);
    }
  }
  patterns.resize(patterns.size() / lane_count * lane_count);
  int failures = 0;
  for (std::size_t i = 0; i < patterns.size(); i += lane_count) {
    float values[lane_count];
    for (std::size_t j = 0; j < lane_count; ++j) values[j] = std::bit_cast<float>(patterns[i + j]);
    T stored[lane_count];
    nibble::simd::store_floats<Isa>(Floats<Isa>::load(values), stored);
    for (std::size_t j = 0; j < lane_count; ++j) {
      failures += std::isnan(values[j]) ? !std::isnan(nibble::to_float(stored[j]))
                                        : stored[j] != nibble::from_float<T>(values[j]);
    }
  }
  return failures;
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("floats are stored as float16 as the scalar conversion has them",
                        "[half_lanes]", nibble::test::Isas) {
  CHECK(differing_stores<TestType, Float16>() == 0);
}

TEMPLATE_LIST_TEST_CASE("floats are stored as bfloat16 as the scalar conversion has them",
                        "[half_lanes]", nibble::test::Isas) {
  CHECK(differing_stores<TestType, BFloat16>() == 0);
}

TEMPLATE_LIST_TEST_CASE("all float16 patterns load as the scalar conversion has them",
                        "[half_lanes]", nibble::test::Isas) {
  CHECK(differing_loads<TestType, Float16>() == 0);
}

TEMPLATE_LIST_TEST_CASE("all bfloat16 patterns load as the scalar conversion has them",
                        "[half_lanes]", nibble::test::Isas) {
  CHECK(differing_loads<TestType, BFloat16>() == 0);
}

TEMPLATE_LIST_TEST_CASE("unsigned integers are widened", "[half_lanes]", nibble::test::Isas) {
  std::array<std::uint8_t, lane_count + 1> bytes{};
  std::array<std::uint16_t, lane_count + 1> shorts{};
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::uint8_t>(255 - 16 * i % 256);
    shorts[i] = static_cast<std::uint16_t>(65535 - 4096 * i % 65536);
  }
  std::uint32_t wide[lane_count];
  nibble::simd::load_widened<TestType>(bytes.data() + 1).store(wide);
  CHECK(std::equal(wide, wide + lane_count, bytes.begin() + 1));
  nibble::simd::load_widened<TestType>(shorts.data() + 1).store(wide);
  CHECK(std::equal(wide, wide + lane_count, shorts.begin() + 1));
}
