// The kernels of every instruction set that the compiler's flags allow, compiled once for all
// tests.
#pragma once

#include <vector>

#include "nibble/kernels/kernel_table.hpp"

namespace nibble::test {

[[nodiscard]] const std::vector<const KernelTable*>& kernel_tables();

}  // namespace nibble::test
