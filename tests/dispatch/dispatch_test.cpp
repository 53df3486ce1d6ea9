#include "nibble/dispatch/dispatch.hpp"

#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nibble/core/error.hpp>

#include "support/catch.hpp"

using Catch::Matchers::ContainsSubstring;
using nibble::KernelTable;
namespace dispatch = nibble::dispatch;

namespace {

/// NIBBLE_ISA for the length of a test.
class ForcedIsa {
 public:
  explicit ForcedIsa(const char* value) {
    if (const char* before = std::getenv("NIBBLE_ISA")) before_ = before;
    set(value);
  }
  ~ForcedIsa() { set(before_ ? before_->c_str() : nullptr); }
  ForcedIsa(const ForcedIsa&) = delete;
  ForcedIsa& operator=(const ForcedIsa&) = delete;

 private:
  static void set(const char* value) {
    if (value != nullptr) {
      ::setenv("NIBBLE_ISA", value, 1);
    } else {
      ::unsetenv("NIBBLE_ISA");
    }
  }
  std::optional<std::string> before_;
};

}  // namespace

TEST_CASE("available instruction sets ascend from the generic one", "[dispatch]") {
  constexpr std::array<std::string_view, 7> ascending{
      "generic", "avx2", "avxvnni", "avx512vnni", "avx512bf16", "amx", "neondotprod"};
  const auto tables = dispatch::available();
  REQUIRE(!tables.empty());
  CHECK(tables.front()->isa == std::string("generic"));
  std::vector<std::ptrdiff_t> places;
  for (const KernelTable* table : tables) {
    CAPTURE(table->isa);
    CHECK(&dispatch::find(table->isa) == table);
    const auto place = std::ranges::find(ascending, table->isa);
    CHECK(place != ascending.end());
    places.push_back(place - ascending.begin());
  }
  CHECK(std::ranges::adjacent_find(places, std::ranges::greater_equal{}) == places.end());
}

TEST_CASE("the best instruction set is the last, or the one asked for", "[dispatch]") {
  {
    const ForcedIsa none(nullptr);
    CHECK(&dispatch::best() == dispatch::available().back());
  }
  {
    const ForcedIsa empty("");
    CHECK(&dispatch::best() == dispatch::available().back());
  }
  for (const KernelTable* table : dispatch::available()) {
    const ForcedIsa forced(table->isa);
    CHECK(&dispatch::best() == table);
  }
}

TEST_CASE("search kernels go with the instruction set asked for", "[dispatch]") {
  const auto kernels = dispatch::available_search();
  REQUIRE(!kernels.empty());
  CHECK(kernels.front()->isa == std::string("generic"));
  {
    const ForcedIsa none(nullptr);
    CHECK(&dispatch::best_search() == kernels.back());
  }
  for (const KernelTable* table : dispatch::available()) {
    const ForcedIsa forced(table->isa);
    const std::string isa = table->isa;
    CAPTURE(isa);
    const std::string found = dispatch::best_search().isa;
    if (isa == "generic" || isa == "neondotprod") CHECK(found == "generic");
    if (isa == "avx2" || isa == "avxvnni") CHECK(found == "avx2");
    if (isa.starts_with("avx512") || isa == "amx") CHECK(found == kernels.back()->isa);
  }
  const ForcedIsa unknown("sse9");
  CHECK_THROWS_WITH(dispatch::best_search(), ContainsSubstring("NIBBLE_ISA"));
}

#if defined(__linux__) && defined(__x86_64__)
namespace {

/// Whether Linux lets this process use AMX's tiles; nothing where it does not know of them.
std::optional<bool> has_tile_permission() {
  constexpr long get_permission = 0x1022;  // ARCH_GET_XCOMP_PERM
  std::uint64_t permitted = 0;
  if (::syscall(SYS_arch_prctl, get_permission, &permitted) != 0) return std::nullopt;
  return ((permitted >> 18) & 1U) != 0;
}

}  // namespace

// By itself, as ctest runs it: in one process with others, these may have asked before.
TEST_CASE("only a question about AMX asks for the tiles", "[dispatch]") {
  if (has_tile_permission().value_or(true)) {
    WARN("skipped: no permission to ask for, or asked for already");
    return;
  }
  {
    const ForcedIsa forced("generic");
    CHECK(dispatch::best().isa == std::string("generic"));
  }
  CHECK(has_tile_permission() == false);
  const auto tables = dispatch::available();
  CHECK(has_tile_permission() == (tables.back()->isa == std::string("amx")));
}
#endif

TEST_CASE("unknown instruction sets are refused by name", "[dispatch]") {
  CHECK_THROWS_WITH(dispatch::find("sse9"),
                    ContainsSubstring("unknown instruction set 'sse9'; this CPU runs generic"));
  CHECK_THROWS_AS(dispatch::find(""), nibble::Error);
  CHECK_THROWS_AS(dispatch::find("Generic"), nibble::Error);
  const ForcedIsa forced("portable");  // not compiled into the library
  CHECK_THROWS_WITH(dispatch::best(),
                    ContainsSubstring("NIBBLE_ISA: unknown instruction set 'portable'"));
}
