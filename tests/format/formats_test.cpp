#include "nibble/format/formats.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "support/catch.hpp"
#include "support/matrices.hpp"

using namespace nibble;
using Catch::Matchers::ContainsSubstring;

TEST_CASE("the list of formats", "[formats]") {
  CHECK(format_names() == "float32, float16, bfloat16, zero-one-int8, int8, int4, int3, int2");
  STATIC_REQUIRE(Formats::index_of<Float32Format> == 0);
  STATIC_REQUIRE(Formats::index_of<GroupInt<2>> == Formats::size - 1);
  STATIC_REQUIRE(Formats::index_of<int> == Formats::size);
  std::vector<std::string> visited;
  Formats::for_each([&]<class F>(std::type_identity<F>) { visited.emplace_back(F::name); });
  CHECK(std::equal(visited.begin(), visited.end(), Formats::names.begin(), Formats::names.end()));
}

namespace {

/// A format that is unpacked so many inputs at a time.
template <class Base, Index Inputs>
struct WithUnit : Base {
  static constexpr Index unit_inputs = Inputs;
  static WithUnit make(const FormatOptions& options) { return {Base::make(options)}; }
  friend bool operator==(const WithUnit&, const WithUnit&) = default;
};
template <Index Inputs>
constexpr bool takes_codes = IntegerWeightFormat<WithUnit<GroupInt<4>, Inputs>>;
template <Index Inputs>
constexpr bool takes_floats = FloatWeightFormat<WithUnit<Float32Format, Inputs>>;

}  // namespace

TEST_CASE("kernels take units of some sizes only", "[formats]") {
  STATIC_REQUIRE(WeightFormat<WithUnit<GroupInt<4>, 12>>);
  STATIC_REQUIRE((takes_codes<4> && takes_codes<8> && takes_codes<16> && takes_codes<32>));
  STATIC_REQUIRE(!(takes_codes<0> || takes_codes<2> || takes_codes<12> || takes_codes<64>));
  STATIC_REQUIRE((takes_floats<1> && takes_floats<2> && takes_floats<4> && takes_floats<8>));
  STATIC_REQUIRE(!(takes_floats<0> || takes_floats<3> || takes_floats<16>));
}

TEST_CASE("a format's options come back as they were given", "[formats]") {
  int count = 0;
  for (const std::string_view name : Formats::names) {
    for (const Index group : {0, 32, 64, 128}) {
      for (const bool asymmetric : {false, true}) {
        for (const bool per_tensor : {false, true}) {
          const FormatOptions options{group, asymmetric, per_tensor};
          const bool floats = name == "float32" || name == "float16" || name == "bfloat16";
          const bool zero_one = name == "zero-one-int8";
          const bool valid = floats     ? group == 0 && !asymmetric && !per_tensor
                             : zero_one ? !asymmetric && (!per_tensor || group == 0)
                                        : !per_tensor;
          CAPTURE(name, group, asymmetric, per_tensor);
          if (!valid) {
            CHECK_THROWS_WITH(make_format(name, options), ContainsSubstring(std::string(name)));
            continue;
          }
          ++count;
          const AnyFormat format = make_format(name, options);
          CHECK(format_name(format) == name);
          CHECK(format_options(format) == options);
          CHECK(make_format(name, format_options(format)) == format);
        }
      }
    }
  }
  CHECK(static_cast<std::size_t>(count) == test::all_formats().size());
}

TEST_CASE("default group sizes", "[formats]") {
  const auto group_size = [](std::string_view name) {
    return format_options(make_format(name)).group_size;
  };
  CHECK(group_size("int4") == 128);
  CHECK(group_size("int3") == 128);
  CHECK(group_size("int2") == 128);
  CHECK(group_size("int8") == 0);
  CHECK(group_size("zero-one-int8") == 0);
  CHECK(group_size("bfloat16") == 0);
}

TEST_CASE("formats are refused by name", "[formats]") {
  CHECK_THROWS_WITH(make_format("int5"),
                    "unknown format 'int5'; expected one of: " + format_names());
  CHECK_THROWS_WITH(make_format(""), ContainsSubstring("unknown format ''"));
  for (const Index group : {1, 16, 48, 96, 256, -32, -1}) {
    CAPTURE(group);
    for (const std::string name : {"int4", "zero-one-int8"}) {
      CHECK_THROWS_WITH(make_format(name, {.group_size = group}),
                        ContainsSubstring(name) && ContainsSubstring(std::to_string(group)));
    }
  }
  CHECK_THROWS_WITH(make_format("bfloat16", {.asymmetric = true}),
                    "format bfloat16 is never asymmetric");
  CHECK_THROWS_WITH(make_format("zero-one-int8", {.asymmetric = true}),
                    "format zero-one-int8 is never asymmetric");
  CHECK_THROWS_WITH(make_format("float16", {.group_size = 32}), "format float16 has no groups");
  CHECK_THROWS_WITH(make_format("int4", {.per_tensor = true}),
                    "format int4 has no range per tensor");
  CHECK_THROWS_WITH(make_format("zero-one-int8", {.group_size = 32, .per_tensor = true}),
                    ContainsSubstring("exclude each other"));
}

TEST_CASE("formats as people write them", "[formats]") {
  CHECK(describe_format(make_format("int4", {.asymmetric = true})) == "int4 g128 asymmetric");
  CHECK(describe_format(make_format("int8")) == "int8");
  CHECK(describe_format(make_format("zero-one-int8", {.per_tensor = true})) ==
        "zero-one-int8 per tensor");
  CHECK(describe_format(make_format("int2", {.group_size = 64})) == "int2 g64");
}
