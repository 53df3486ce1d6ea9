// The kernels of one instruction set: compiled once for each, with its flags, for
// simd::NIBBLE_DISPATCH_ISA. Data alone is visible, so that looking at a table runs none of its
// code, and every function that the linker could merge with another file's has the tag in its name.
#include <nibble/kernels/kernel_table.hpp>

namespace nibble::dispatch {

extern const KernelTable* const NIBBLE_DISPATCH_TABLE;
constinit const KernelTable* const NIBBLE_DISPATCH_TABLE = &kernels<simd::NIBBLE_DISPATCH_ISA>();

}  // namespace nibble::dispatch
