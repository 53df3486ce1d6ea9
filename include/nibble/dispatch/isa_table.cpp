// The kernels of one instruction set: compiled once for each, with its flags, for
// simd::NIBBLE_DISPATCH_ISA. Data alone is visible, so that looking at a table runs none of its
// code, and every function that the linker could merge with another file's has the tag in its name.
#include <concepts>

#include <nibble/kernels/kernel_table.hpp>

namespace nibble::dispatch {

using Isa = simd::NIBBLE_DISPATCH_ISA;
// (Native is never Amx, but what Amx extends.)
static_assert(std::same_as<simd::Native, Isa> || (Isa::has_tiles && simd::Native::has_dot2),
              "the compiler's flags allow another instruction set than this file's");

extern const KernelTable* const NIBBLE_DISPATCH_TABLE;
constinit const KernelTable* const NIBBLE_DISPATCH_TABLE = &kernels<Isa>();

}  // namespace nibble::dispatch
