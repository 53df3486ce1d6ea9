// Which instructions this CPU has and its operating system lets programs use.
#pragma once

#include <string_view>

namespace nibble::dispatch {

/// Whether code compiled with -m<feature> runs here, or on aarch64 with the extension +<feature>.
/// False for features that cpu_features.cpp does not list. A question about AMX asks Linux to let
/// this process use the tile registers, as every process has to.
[[nodiscard]] bool cpu_has(std::string_view feature) noexcept;

}  // namespace nibble::dispatch
