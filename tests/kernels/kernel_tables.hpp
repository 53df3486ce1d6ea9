// The kernels that tests run: plain C++, and those of every instruction set that this CPU runs.
#pragma once

#include <vector>

#include "nibble/kernels/kernel_table.hpp"

namespace nibble::test {

[[nodiscard]] const std::vector<const KernelTable*>& kernel_tables();

}  // namespace nibble::test
