#include "nibble/dispatch/cpu_features.hpp"

#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "support/catch.hpp"

using nibble::dispatch::cpu_has;

TEST_CASE("an unknown feature is not there", "[cpu_features]") {
  CHECK_FALSE(cpu_has(""));
  CHECK_FALSE(cpu_has("avx"));  // no instruction set asks for it alone
  CHECK_FALSE(cpu_has("avx51"));
}

// Not under an emulator, whose /proc/cpuinfo is that of the machine underneath.
TEST_CASE("features are those that Linux sees", "[cpu_features][host]") {
  std::ifstream cpuinfo("/proc/cpuinfo");
  std::set<std::string> seen;
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.rfind("flags", 0) != 0 && line.rfind("Features", 0) != 0) continue;
    std::istringstream words(line.substr(line.find(':') + 1));
    for (std::string word; words >> word;) seen.insert(word);
    break;
  }
  if (seen.empty()) {
    WARN("skipped: no /proc/cpuinfo");
    return;
  }
  struct Feature {
    const char* name;
    const char* in_cpuinfo;
  };
#if defined(__aarch64__)
  constexpr Feature features[] = {{"dotprod", "asimddp"}};
#else
  constexpr Feature features[] = {
      {"fma", "fma"},
      {"f16c", "f16c"},
      {"avx2", "avx2"},
      {"avxvnni", "avx_vnni"},
      {"avx512f", "avx512f"},
      {"avx512dq", "avx512dq"},
      {"avx512cd", "avx512cd"},
      {"avx512bw", "avx512bw"},
      {"avx512vl", "avx512vl"},
      {"avx512vnni", "avx512_vnni"},
      {"amx-tile", "amx_tile"},
      {"avx512bf16", "avx512_bf16"},
      {"amx-int8", "amx_int8"},
      {"amx-bf16", "amx_bf16"},
      {"avx512vpopcntdq", "avx512_vpopcntdq"},
  };
#endif
  for (const Feature& feature : features) {
    CAPTURE(feature.name);
    CHECK(cpu_has(feature.name) == seen.contains(feature.in_cpuinfo));
  }
}
