#include "nibble/search/passages.hpp"

#include <string>
#include <vector>

#include "support/catch.hpp"

using namespace nibble;

TEST_CASE("passages are whole sentences of some length", "[passages]") {
  const PassageOptions options{.joined = 8, .longest = 14};
  using Passages = std::vector<std::string>;
  CHECK(cut_passages("One.\nTwo two.  Three three three three.", options) ==
        Passages{"One. Two two. ", "Three three th"});
  CHECK(cut_passages("No 3.14 or e.g.this is one. ", options) == Passages{"No 3.14 or e.g"});
  CHECK(cut_passages("\t A rest. of it", options) == Passages{"A rest. of it"});
  CHECK(cut_passages("\t A rest.\n", options).empty());
  CHECK(cut_passages("Short.", options).empty());
  CHECK(cut_passages("", options).empty());
  // Lengths are in characters, which are not cut through.
  CHECK(cut_passages("\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9. rest", options) ==
        Passages{"\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9. "});
}
