// How much memory this process holds right now.
#pragma once

#include <cstdint>
#include <fstream>
#include <optional>

#if defined(__linux__)
#include <unistd.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace nibble::example {

/// Bytes of memory that are there for this process, files that it has mapped and read included;
/// nothing where the system does not say. Freed memory is given back to the system before, where
/// the C library can, or what is used next would seem to take none.
[[nodiscard]] inline std::optional<std::uint64_t> resident_memory() {
#if defined(__GLIBC__)
  ::malloc_trim(0);
#endif
#if defined(__linux__)
  std::ifstream file("/proc/self/statm");
  std::uint64_t size = 0, resident = 0;  // in pages
  const long page = ::sysconf(_SC_PAGESIZE);
  if (page > 0 && file >> size >> resident) return resident * static_cast<std::uint64_t>(page);
#endif
  return std::nullopt;
}

}  // namespace nibble::example
