#include "nibble/core/fingerprint.hpp"

#include <set>
#include <string>

#include "support/catch.hpp"

using nibble::Fingerprint;

namespace {

std::string of(std::initializer_list<std::string_view> texts) {
  Fingerprint fingerprint;
  for (const std::string_view text : texts) fingerprint.add(text);
  return fingerprint.text();
}

}  // namespace

TEST_CASE("fingerprints are the same for the same bytes, and for no others") {
  CHECK(of({}).size() == 16);
  CHECK(of({"abc", "d"}) == of({"abc", "d"}));
  std::set<std::string> seen{of({}),           of({""}),         of({"abcd"}),
                             of({"abc", "d"}), of({"ab", "cd"}), of({"d", "abc"})};
  CHECK(seen.size() == 6);
  // Any bit of it, any length, zeros or not.
  for (std::size_t length = 0; length < 80; ++length) {
    const std::string zeros(length, '\0');
    CHECK(seen.insert(of({zeros, "end"})).second);
    for (std::size_t bit = 0; bit < 8 * length; ++bit) {
      std::string changed = zeros;
      changed[bit / 8] = static_cast<char>(1U << (bit % 8));
      CHECK(seen.insert(of({changed, "end"})).second);
    }
  }
}
