// How much memory a program may still take.
#pragma once

#include <cstdint>
#include <fstream>
#include <optional>
#include <string>

namespace nibble::example {

/// Bytes, as Linux estimates them; nothing where it is unknown.
[[nodiscard]] inline std::optional<std::uint64_t> available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string field, unit;
  std::uint64_t kilobytes = 0;
  while (file >> field >> kilobytes) {
    if (field == "MemAvailable:") return kilobytes << 10;
    std::getline(file, unit);
  }
  return std::nullopt;
}

}  // namespace nibble::example
