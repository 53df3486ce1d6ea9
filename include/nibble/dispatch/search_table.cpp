// The search kernels of one instruction set: compiled once for each that they tell apart, as
// isa_table.cpp is.
#include <concepts>

#include <nibble/kernels/search_kernels.hpp>

namespace nibble::dispatch {

using SearchIsa = simd::NIBBLE_DISPATCH_ISA;
static_assert(std::same_as<simd::NativeSearch, SearchIsa>,
              "the compiler's flags allow another instruction set than this file's");

extern const SearchKernels* const NIBBLE_DISPATCH_TABLE;
constinit const SearchKernels* const NIBBLE_DISPATCH_TABLE = &search_kernels<SearchIsa>();

}  // namespace nibble::dispatch
