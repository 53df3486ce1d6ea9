#include <nibble/dispatch/cpu_features.hpp>

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__) && defined(__x86_64__)
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__linux__) && defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__APPLE__) && defined(__aarch64__)
#include <sys/sysctl.h>
#endif

namespace nibble::dispatch {

namespace {

#if defined(__x86_64__)

/// Zeros for a leaf that the CPU does not have.
struct CpuId {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  CpuId(unsigned leaf, unsigned subleaf) noexcept {
    __get_cpuid_count(leaf, subleaf, &eax, &ebx, &ecx, &edx);
  }
};

/// The register states that the operating system saves when it switches threads (XCR0).
std::uint64_t saved_states() noexcept {
  constexpr unsigned osxsave = 1U << 27;
  if ((CpuId(1, 0).ecx & osxsave) == 0) return 0;
  std::uint32_t low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (std::uint64_t{high} << 32) | low;
}

constexpr std::uint64_t avx_state = 0x6;        // xmm, ymm
constexpr std::uint64_t avx512_state = 0xE6;    // and mask registers, upper halves, zmm16 to zmm31
constexpr std::uint64_t tile_state = 0x6'0000;  // AMX's configuration and data

/// Linux saves tiles only for a process that has asked for them.
bool may_use_tiles() noexcept {
#if defined(__linux__)
  constexpr long request_permission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long tile_data = 18;
  return ::syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
#else
  return false;
#endif
}

/// Where CPUID tells of a feature, and the register states that using it takes.
/// Source: Intel, "Architecture Instruction Set Extensions", chapter 1; names are the compilers'.
struct Feature {
  std::string_view name;
  unsigned leaf, subleaf;
  unsigned CpuId::*word;
  int bit;
  std::uint64_t states;
};
constexpr Feature features[] = {
    {"fma", 1, 0, &CpuId::ecx, 12, avx_state},
    {"f16c", 1, 0, &CpuId::ecx, 29, avx_state},
    {"avx2", 7, 0, &CpuId::ebx, 5, avx_state},
    {"avxvnni", 7, 1, &CpuId::eax, 4, avx_state},
    {"avx512f", 7, 0, &CpuId::ebx, 16, avx512_state},
    {"avx512dq", 7, 0, &CpuId::ebx, 17, avx512_state},
    {"avx512cd", 7, 0, &CpuId::ebx, 28, avx512_state},
    {"avx512bw", 7, 0, &CpuId::ebx, 30, avx512_state},
    {"avx512vl", 7, 0, &CpuId::ebx, 31, avx512_state},
    {"avx512vnni", 7, 0, &CpuId::ecx, 11, avx512_state},
    {"avx512vpopcntdq", 7, 0, &CpuId::ecx, 14, avx512_state},
    {"avx512bf16", 7, 1, &CpuId::eax, 5, avx512_state},
    {"amx-bf16", 7, 0, &CpuId::edx, 22, tile_state},
    {"amx-tile", 7, 0, &CpuId::edx, 24, tile_state},
    {"amx-int8", 7, 0, &CpuId::edx, 25, tile_state},
};

#endif

}  // namespace

bool cpu_has([[maybe_unused]] std::string_view feature) noexcept {
#if defined(__x86_64__)
  for (const Feature& each : features) {
    if (each.name != feature) continue;
    const unsigned word = CpuId(each.leaf, each.subleaf).*each.word;
    return ((word >> each.bit) & 1U) != 0 && (saved_states() & each.states) == each.states &&
           (each.states != tile_state || may_use_tiles());
  }
#elif defined(__linux__) && defined(__aarch64__)
  if (feature == "dotprod") return (::getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__APPLE__) && defined(__aarch64__)
  int has = 0;
  std::size_t size = sizeof has;
  if (feature == "dotprod") {
    return ::sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, nullptr, 0) == 0 && has != 0;
  }
#endif
  return false;
}

}  // namespace nibble::dispatch
