// The kernels of several instruction sets in one compiled library, chosen when the program runs.
#pragma once

#include <span>
#include <string_view>

#include <nibble/kernels/kernel_table.hpp>
#include <nibble/kernels/search_kernels.hpp>

namespace nibble::dispatch {

/// The tables that this CPU and its operating system run, from the least instruction set to the
/// best; never empty. On a CPU with AMX, the first call asks Linux to let this process use the tile
/// registers, for good: a signal handler's own stack (sigaltstack) then needs room for their 8 KB
/// beside what MINSIGSTKSZ says, and Linux refuses a smaller one. A program with such a stack calls
/// this before it makes the stack, or takes another table by `find`.
[[nodiscard]] std::span<const KernelTable* const> available();

/// The table of that name (`KernelTable::isa`). Asks about no other instruction set; about AMX's
/// permission only for "amx". Throws Error, listing what is available(), for a name that is unknown
/// or not among it.
[[nodiscard]] const KernelTable& find(std::string_view isa);

/// The last of available(), or the one that the environment variable NIBBLE_ISA names where it is
/// set and not empty, taken by `find`. Throws as `find`.
[[nodiscard]] const KernelTable& best();

/// The search kernels that this CPU and its operating system run, from the least instruction set to
/// the best; never empty.
[[nodiscard]] std::span<const SearchKernels* const> available_search();

/// The last of available_search(); where NIBBLE_ISA names an instruction set, the last that goes
/// with it: "avx512vpopcntdq" with "avx512vnni" and what extends that, on CPUs that have it. Throws
/// as `best`.
[[nodiscard]] const SearchKernels& best_search();

}  // namespace nibble::dispatch
