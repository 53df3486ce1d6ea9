#include "nibble/core/error.hpp"

#include <locale>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "support/catch.hpp"

namespace {

/// Groups digits as some languages do: 1.234.
struct Grouping : std::numpunct<char> {
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\3"; }
};

}  // namespace

TEST_CASE("every error is a runtime_error through nibble::Error", "[error]") {
  STATIC_REQUIRE(std::is_base_of_v<std::runtime_error, nibble::Error>);
  STATIC_REQUIRE(std::is_base_of_v<nibble::Error, nibble::Cancelled>);
  CHECK(std::string(nibble::Cancelled().what()) == "cancelled");
}

TEST_CASE("concat joins its parts", "[error]") {
  CHECK(nibble::concat("group ", 128, ", found ", -1.5, std::string("!")) ==
        "group 128, found -1.5!");
}

TEST_CASE("concat does not follow the program's locale", "[error]") {
  const std::locale before = std::locale::global(std::locale(std::locale::classic(), new Grouping));
  const std::string text = nibble::concat(1234567);
  std::locale::global(before);
  CHECK(text == "1234567");
}

TEST_CASE("fail throws the joined message", "[error]") {
  CHECK_THROWS_AS(nibble::fail("x"), nibble::Error);
  CHECK_THROWS_WITH(nibble::fail("config.json: hidden_size is ", 0),
                    "config.json: hidden_size is 0");
}
