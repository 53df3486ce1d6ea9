#include "nibble/simd/lanes.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

#include "nibble/simd/simd.hpp"
#include "support/catch.hpp"
#include "support/isas.hpp"
#include "support/random.hpp"

using nibble::simd::Floats;
using nibble::simd::Ints;
using nibble::simd::lane_count;
using nibble::simd::Lanes;
using nibble::simd::Words;
using nibble::test::Isas;
using nibble::test::Random;
using nibble::test::random_bits;
using nibble::test::random_integer;

namespace {

template <class T>
using Values = std::array<T, lane_count>;

constexpr float infinity = std::numeric_limits<float>::infinity();

template <class T, class Isa>
Values<T> values_of(const Lanes<T, Isa>& lanes) {
  Values<T> values{};
  lanes.store(values.data());
  return values;
}

Values<float> random_values(Random& random) {
  Values<float> values{};
  for (float& value : values) {
    value = std::ldexp(static_cast<float>(random_integer(random, -(1 << 24), 1 << 24)),
                       random_integer(random, -40, 10));
  }
  return values;
}

/// Whether a fused multiply-add is promised.
template <class Isa>
constexpr bool has_fma = !std::is_same_v<Isa, nibble::simd::Portable> &&
                         (!std::is_same_v<Isa, nibble::simd::Generic> || XSIMD_WITH_NEON64);

}  // namespace

TEMPLATE_LIST_TEST_CASE("lanes load, store and broadcast", "[lanes]", Isas) {
  std::array<float, lane_count + 1> data{};
  std::iota(data.begin(), data.end(), 1.0F);
  const auto values = values_of(Floats<TestType>::load(data.data() + 1));  // any address
  CHECK(std::equal(values.begin(), values.end(), data.begin() + 1));
  const auto sevens = values_of(Ints<TestType>::broadcast(-7));
  CHECK(std::count(sevens.begin(), sevens.end(), -7) == lane_count);
}

TEMPLATE_LIST_TEST_CASE("pairs are taken apart", "[lanes]", Isas) {
  std::array<float, 2 * lane_count + 1> data{};
  std::iota(data.begin(), data.end(), 1.0F);
  const auto pairs = nibble::simd::load_pairs<TestType>(data.data() + 1);  // any address
  const auto first = values_of(pairs.first), second = values_of(pairs.second);
  for (std::size_t i = 0; i < lane_count; ++i) {
    CHECK(first[i] == data[1 + 2 * i]);
    CHECK(second[i] == data[2 + 2 * i]);
  }
}

TEMPLATE_LIST_TEST_CASE("float arithmetic is that of each lane", "[lanes]", Isas) {
  Random random(4);
  int failures = 0;
  for (int round = 0; round < 500; ++round) {
    const auto a = random_values(random);
    const auto b = random_values(random);
    const auto x = Floats<TestType>::load(a.data());
    const auto y = Floats<TestType>::load(b.data());
    const auto sum = values_of(x + y);
    const auto difference = values_of(x - y);
    const auto product = values_of(x * y);
    const auto quotient = values_of(x / y);
    const auto larger = values_of(max(x, y));
    const auto magnitude = values_of(abs(x));
    for (std::size_t i = 0; i < lane_count; ++i) {
      failures += sum[i] != a[i] + b[i] || difference[i] != a[i] - b[i] ||
                  product[i] != a[i] * b[i] || larger[i] != std::max(a[i], b[i]) ||
                  magnitude[i] != std::abs(a[i]) || std::signbit(magnitude[i]);
      if (b[i] != 0) failures += quotient[i] != a[i] / b[i];
    }
  }
  CHECK(failures == 0);
}

TEMPLATE_LIST_TEST_CASE("integer arithmetic is that of each lane", "[lanes]", Isas) {
  Random random(5);
  int failures = 0;
  for (int round = 0; round < 500; ++round) {
    Values<std::uint32_t> a{};
    Values<std::uint32_t> b{};
    Values<std::int32_t> c{};
    Values<std::int32_t> d{};
    for (std::size_t i = 0; i < lane_count; ++i) {
      a[i] = static_cast<std::uint32_t>(random());
      b[i] = static_cast<std::uint32_t>(random());
      c[i] = random_integer(random, -40000, 40000);
      d[i] = random_integer(random, -40000, 40000);
    }
    const int bits = random_integer(random, 0, 31);
    const auto x = Words<TestType>::load(a.data());
    const auto y = Words<TestType>::load(b.data());
    const auto s = Ints<TestType>::load(c.data());
    const auto t = Ints<TestType>::load(d.data());
    const auto both = values_of(x & y);
    const auto either = values_of(x | y);
    const auto right = values_of(x >> bits);
    const auto left = values_of(x << bits);
    const auto sum = values_of(s + t);
    const auto difference = values_of(s - t);
    const auto product = values_of(s * t);
    for (std::size_t i = 0; i < lane_count; ++i) {
      failures += both[i] != (a[i] & b[i]) || either[i] != (a[i] | b[i]) ||
                  right[i] != a[i] >> bits || left[i] != a[i] << bits || sum[i] != c[i] + d[i] ||
                  difference[i] != c[i] - d[i] || product[i] != c[i] * d[i];
    }
  }
  CHECK(failures == 0);
}

TEMPLATE_LIST_TEST_CASE("fma rounds once where the instruction set has it", "[lanes]", Isas) {
  Random random(6);
  int failures = 0;
  for (int round = 0; round < 1000; ++round) {
    const auto a = random_values(random);
    const auto b = random_values(random);
    auto c = random_values(random);
    for (std::size_t i = 0; i < lane_count; i += 2) c[i] = -a[i] * b[i];  // what is left is exact
    const auto result =
        values_of(fma(Floats<TestType>::load(a.data()), Floats<TestType>::load(b.data()),
                      Floats<TestType>::load(c.data())));
    for (std::size_t i = 0; i < lane_count; ++i) {
      const float product = a[i] * b[i];
      failures += result[i] != (has_fma<TestType> ? std::fma(a[i], b[i], c[i]) : product + c[i]);
    }
  }
  CHECK(failures == 0);
}

TEMPLATE_LIST_TEST_CASE("bitwise_cast keeps the bits", "[lanes]", Isas) {
  Random random(7);
  int failures = 0;
  for (int round = 0; round < 500; ++round) {
    Values<std::uint32_t> words{};
    for (auto& word : words) word = static_cast<std::uint32_t>(random());
    const auto lanes = Words<TestType>::load(words.data());
    const auto there = nibble::simd::bitwise_cast<float>(lanes);
    const auto back = values_of(nibble::simd::bitwise_cast<std::uint32_t>(there));
    const auto ints = values_of(nibble::simd::bitwise_cast<std::int32_t>(lanes));
    failures += back != words;
    for (std::size_t i = 0; i < lane_count; ++i) {
      failures += ints[i] != static_cast<std::int32_t>(words[i]);
    }
  }
  CHECK(failures == 0);
}

TEMPLATE_LIST_TEST_CASE("integers become floats", "[lanes]", Isas) {
  Random random(8);
  for (int round = 0; round < 500; ++round) {
    Values<std::int32_t> ints{};
    for (auto& value : ints) value = random_integer(random, -(1 << 24), 1 << 24);
    const auto floats = values_of(nibble::simd::to_float(Ints<TestType>::load(ints.data())));
    REQUIRE(std::equal(floats.begin(), floats.end(), ints.begin(),
                       [](float f, std::int32_t i) { return f == static_cast<float>(i); }));
  }
}

TEMPLATE_LIST_TEST_CASE("to_nearest_int takes ties to even", "[lanes]", Isas) {
  Random random(9);
  int failures = 0;
  for (int round = 0; round < 3000; ++round) {
    Values<float> values{};
    for (float& value : values) {
      const int quarters = random_integer(random, -(1 << 24) + 1, (1 << 24) - 1);
      const int small = random_integer(random, -1024, 1024);  // many ties
      value = static_cast<float>(round % 2 == 0 ? quarters : small) * 0.25F;
      if (round % 3 == 0) value = std::nextafter(value, infinity);
    }
    const auto nearest = values_of(to_nearest_int(Floats<TestType>::load(values.data())));
    for (std::size_t i = 0; i < lane_count; ++i) {
      if (std::abs(values[i]) >= 0x1p22F) continue;
      failures += nearest[i] != static_cast<std::int32_t>(std::nearbyint(values[i]));
    }
  }
  CHECK(failures == 0);
}

TEMPLATE_LIST_TEST_CASE("sums of lanes take one fixed tree", "[lanes]", Isas) {
  Random random(11);
  for (int round = 0; round < 500; ++round) {
    const auto v = random_values(random);
    const auto at = [&](std::size_t i) { return (v[i] + v[i + 8]) + (v[i + 4] + v[i + 12]); };
    const float expected = (at(0) + at(2)) + (at(1) + at(3));
    REQUIRE(nibble::simd::reduce_sum(Floats<TestType>::load(v.data())) == expected);
    REQUIRE(nibble::simd::reduce_max(Floats<TestType>::load(v.data())) ==
            *std::max_element(v.begin(), v.end()));
  }
  Values<std::int32_t> ints{};
  std::iota(ints.begin(), ints.end(), -3);
  CHECK(nibble::simd::reduce_sum(Ints<TestType>::load(ints.data())) == 72);
}

TEMPLATE_LIST_TEST_CASE("store_first writes the first lanes and no more", "[lanes]", Isas) {
  Values<float> values{};
  std::iota(values.begin(), values.end(), 1.0F);
  for (int count = 0; count <= lane_count; ++count) {
    std::array<float, lane_count + 1> out;
    out.fill(-1.0F);
    store_first(Floats<TestType>::load(values.data()), out.data(), count);
    CAPTURE(count);
    CHECK(std::equal(out.begin(), out.begin() + count, values.begin()));
    CHECK(std::count(out.begin() + count, out.end(), -1.0F) == lane_count + 1 - count);
  }
}

TEST_CASE("unroll counts at compile time", "[unroll]") {
  int sum = 0;
  nibble::simd::unroll<5>([&](auto i) {
    static_assert(i < 5);
    sum = 10 * sum + i;
  });
  CHECK(sum == 1234);
}

TEST_CASE("the chosen instruction set has a name", "[isa]") {
  CHECK(std::string(nibble::simd::describe()) == nibble::simd::Native::name);
  CHECK(std::is_base_of_v<nibble::simd::Portable, nibble::simd::Native>);
}
