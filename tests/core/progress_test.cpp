#include "nibble/core/progress.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"

TEST_CASE("without a callback nothing is reported", "[progress]") {
  CHECK_NOTHROW(nibble::report(nibble::Progress(), "stage", 1, 2));
}

TEST_CASE("a callback sees every step and may cancel", "[progress]") {
  std::vector<std::string> seen;
  const nibble::Progress progress = [&](std::string_view stage, nibble::Index done,
                                        nibble::Index total) {
    seen.push_back(nibble::concat(stage, " ", done, "/", total));
    return done < 2;
  };
  nibble::report(progress, "load", 0, 3);
  nibble::report(progress, "load", 1, 3);
  CHECK_THROWS_AS(nibble::report(progress, "load", 2, 3), nibble::Cancelled);
  CHECK(seen == std::vector<std::string>{"load 0/3", "load 1/3", "load 2/3"});
}
