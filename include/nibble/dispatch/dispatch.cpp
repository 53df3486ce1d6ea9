#include <nibble/dispatch/dispatch.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <type_traits>

#include <nibble/core/error.hpp>
#include <nibble/dispatch/cpu_features.hpp>

namespace nibble::dispatch {

// isas.inc, which CMake writes, has a line NIBBLE_DISPATCH_ISA(tag, condition) for each instruction
// set that is compiled in, in ascending order; search_isas.inc, of search kernels, a line
// NIBBLE_DISPATCH_SEARCH(tag, base, condition).
#define NIBBLE_DISPATCH_ISA(tag, condition) \
  extern const KernelTable* const table_of_nibble_dispatch_##tag;
#include "isas.inc"
#undef NIBBLE_DISPATCH_ISA
#define NIBBLE_DISPATCH_SEARCH(tag, base, condition) \
  extern const SearchKernels* const table_of_nibble_dispatch_search_##tag;
#include "search_isas.inc"
#undef NIBBLE_DISPATCH_SEARCH

namespace {

struct Candidate {
  const KernelTable* table;
  bool (*runs_here)();
};

const auto& candidates() {
#define NIBBLE_DISPATCH_ISA(tag, condition) \
  Candidate{table_of_nibble_dispatch_##tag, [] { return condition; }},
  static const std::array all{
#include "isas.inc"
  };
#undef NIBBLE_DISPATCH_ISA
  return all;
}
using Candidates = std::remove_cvref_t<decltype(candidates())>;

struct SearchCandidate {
  const SearchKernels* kernels;
  const KernelTable* base;  // the least that they go with
  bool (*runs_here)();
};

const auto& search_candidates() {
#define NIBBLE_DISPATCH_SEARCH(tag, base, condition)                                      \
  SearchCandidate{table_of_nibble_dispatch_search_##tag, table_of_nibble_dispatch_##base, \
                  [] { return condition; }},
  static const std::array all{
#include "search_isas.inc"
  };
#undef NIBBLE_DISPATCH_SEARCH
  return all;
}
using SearchCandidates = std::remove_cvref_t<decltype(search_candidates())>;

std::string names_of_available() {
  std::string names;
  for (const KernelTable* table : available()) {
    if (!names.empty()) names += ", ";
    names += table->isa;
  }
  return names;
}

}  // namespace

std::span<const KernelTable* const> available() {
  struct Available {
    std::array<const KernelTable*, std::tuple_size_v<Candidates>> tables{};
    std::size_t count = 0;
    Available() {
      for (const Candidate& candidate : candidates()) {
        if (candidate.runs_here()) tables[count++] = candidate.table;
      }
    }
  };
  static const Available here;
  return {here.tables.data(), here.count};
}

const KernelTable& find(std::string_view isa) {
  for (const Candidate& candidate : candidates()) {
    if (candidate.table->isa != isa) continue;
    if (candidate.runs_here()) return *candidate.table;
    fail("instruction set '", isa, "': this CPU does not run it, only ", names_of_available());
  }
  fail("unknown instruction set '", isa, "'; this CPU runs ", names_of_available());
}

const KernelTable& best() {
  const char* wanted = std::getenv("NIBBLE_ISA");
  if (wanted == nullptr || *wanted == '\0') return *available().back();
  try {
    return find(wanted);
  } catch (const Error& error) {
    fail("NIBBLE_ISA: ", error.what());
  }
}

std::span<const SearchKernels* const> available_search() {
  struct Available {
    std::array<const SearchKernels*, std::tuple_size_v<SearchCandidates>> kernels{};
    std::size_t count = 0;
    Available() {
      for (const SearchCandidate& candidate : search_candidates()) {
        if (candidate.runs_here()) kernels[count++] = candidate.kernels;
      }
    }
  };
  static const Available here;
  return {here.kernels.data(), here.count};
}

const SearchKernels& best_search() {
  const KernelTable& limit = best();
  const SearchKernels* found = nullptr;
  const auto rank = [](const KernelTable& table) {
    return std::ranges::find(candidates(), &table, &Candidate::table) - candidates().begin();
  };
  for (const SearchCandidate& candidate : search_candidates()) {
    if (rank(*candidate.base) <= rank(limit) && candidate.runs_here()) found = candidate.kernels;
  }
  return *found;  // the first goes with every instruction set and runs everywhere
}

}  // namespace nibble::dispatch
