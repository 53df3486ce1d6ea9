#include "nibble/quantize/quantizers.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace nibble;

TEST_CASE("quantizers are found by their names", "[quantizers]") {
  std::vector<std::string> names;
  for_each_quantizer_name([&](std::string_view name) { names.emplace_back(name); });
  REQUIRE(names.size() == std::variant_size_v<AnyQuantizer>);
  CHECK(names.front() == "rtn");
  for (std::size_t i = 0; i < names.size(); ++i) CHECK(make_quantizer(names[i]).index() == i);
}

TEST_CASE("an unknown quantizer is refused with the known ones", "[quantizers]") {
  CHECK_THROWS_WITH(make_quantizer("rtm"), Catch::Matchers::ContainsSubstring("'rtm'") &&
                                               Catch::Matchers::ContainsSubstring("rtn"));
}
