// Loops that do nothing but multiply-add or read, for x86: each in its own instructions, whatever
// the compiler's flags, so they may be called only where the CPU has them.
#pragma once

#if defined(__x86_64__) && defined(__GNUC__)
#define NIBBLE_HAS_X86_PROBES 1

#include <cpuid.h>

#include <cstddef>
#include <cstdint>

namespace nibble::example::x86 {

[[nodiscard]] inline bool has_avx2() {
  return __builtin_cpu_supports("avx2") != 0;
}
[[nodiscard]] inline bool has_fma() {
  return has_avx2() && __builtin_cpu_supports("fma") != 0;
}
[[nodiscard]] inline bool has_avx_vnni() {  // clang++ 14 does not know its name
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return has_avx2() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 &&
         (eax & (1U << 4)) != 0;
}
[[nodiscard]] inline bool has_avx512() {
  return __builtin_cpu_supports("avx512f") != 0;
}
[[nodiscard]] inline bool has_avx512_vnni() {
  return __builtin_cpu_supports("avx512vnni") != 0;
}
[[nodiscard]] inline bool has_avx512_bf16() {
  return __builtin_cpu_supports("avx512bf16") != 0;
}

// The assembler repeats `lines` for each chain \i; chains are registers, so none waits for another.
// Sums start at zero, registers 14 and up hold operands, and `ones` are what all numbers are.
#define NIBBLE_PROBE_CHAINS "0,1,2,3,4,5,6,7,8,9,10,11,12,13"
#define NIBBLE_PROBE_LOOP(lines)                    \
  ".irp i," NIBBLE_PROBE_CHAINS                     \
  "\n vpxor %%xmm\\i, %%xmm\\i, %%xmm\\i\n .endr\n" \
  "1:\n"                                            \
  ".irp i," NIBBLE_PROBE_CHAINS "\n" lines          \
  "\n.endr\n"                                       \
  "dec %[rounds]\n"                                 \
  "jnz 1b\n"                                        \
  "vzeroupper"
#define NIBBLE_PROBE_REGISTERS                                                                   \
  "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
      "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#define NIBBLE_PROBE(function, features, ones, operand, lines)                                \
  [[gnu::target(features), gnu::noinline]] inline void function(std::int64_t rounds) {        \
    alignas(64) const std::uint32_t x[16] = {ones, ones, ones, ones, ones, ones, ones, ones,  \
                                             ones, ones, ones, ones, ones, ones, ones, ones}; \
    asm volatile("vbroadcastss (%[x]), " operand "\n" NIBBLE_PROBE_LOOP(lines)                \
                 : [rounds] "+r"(rounds)                                                      \
                 : [x] "r"(x), "m"(x)                                                         \
                 : NIBBLE_PROBE_REGISTERS);                                                   \
  }

/// Chains in a round of the loops below.
inline constexpr int chains = 14;

// As kernels do it: one operand is four bytes (two halves, one float) broadcast from memory.
NIBBLE_PROBE(dot_int8_zmm, "avx512f,avx512vnni", 0x01010101U, "%%zmm15",
             "vpdpbusd 4*\\i(%[x])%{1to16%}, %%zmm15, %%zmm\\i")
NIBBLE_PROBE(dot_bfloat16_zmm, "avx512f,avx512bf16", 0x3F803F80U, "%%zmm15",
             "vdpbf16ps 4*\\i(%[x])%{1to16%}, %%zmm15, %%zmm\\i")
NIBBLE_PROBE(fma_zmm, "avx512f", 0x3F800000U, "%%zmm15",
             "vfmadd231ps 4*\\i(%[x])%{1to16%}, %%zmm15, %%zmm\\i")

// Without such operands the broadcast is an instruction of its own, which a peak leaves out.
NIBBLE_PROBE(dot_int8_ymm, "avx2,avxvnni", 0x01010101U, "%%ymm15",
             "%{vex%} vpdpbusd %%ymm15, %%ymm15, %%ymm\\i")
NIBBLE_PROBE(fma_ymm, "avx2,fma", 0x3F800000U, "%%ymm15", "vfmadd231ps %%ymm15, %%ymm15, %%ymm\\i")
// What stands for the dot product before VNNI: bytes to pairs, pairs to quads, the sum. The
// products go to a register that is written anew each time.
NIBBLE_PROBE(multiply_add_bytes_ymm, "avx2", 0x01010101U, "%%ymm15",
             "vpmaddubsw %%ymm15, %%ymm15, %%ymm14\n"
             "vpmaddwd %%ymm15, %%ymm14, %%ymm14\n"
             "vpaddd %%ymm14, %%ymm\\i, %%ymm\\i")

#undef NIBBLE_PROBE
#undef NIBBLE_PROBE_REGISTERS
#undef NIBBLE_PROBE_LOOP
#undef NIBBLE_PROBE_CHAINS

/// Products of two tiles of 16 rows of 64 bytes that make a round of the loops below.
inline constexpr int tile_chains = 4;

// On the matrix registers of AMX; the process has asked its operating system for them.
#define NIBBLE_TILE_PROBE(function, feature, instruction)                                         \
  [[gnu::target("amx-tile," feature), gnu::noinline]] inline void function(std::int64_t rounds) { \
    alignas(64) std::uint8_t config[64] = {1};                                                    \
    for (int tile = 0; tile < 8; ++tile) {                                                        \
      config[16 + 2 * tile] = 64;                                                                 \
      config[48 + tile] = 16;                                                                     \
    }                                                                                             \
    asm volatile(                                                                                 \
        "ldtilecfg %[config]\n"                                                                   \
        "1:\n" instruction " %%tmm4, %%tmm5, %%tmm0\n" instruction                                \
        " %%tmm4, %%tmm5, %%tmm1\n" instruction " %%tmm4, %%tmm5, %%tmm2\n" instruction           \
        " %%tmm4, %%tmm5, %%tmm3\n"                                                               \
        "dec %[rounds]\n"                                                                         \
        "jnz 1b\n"                                                                                \
        "tilerelease"                                                                             \
        : [rounds] "+r"(rounds)                                                                   \
        : [config] "m"(config)                                                                    \
        : "cc");                                                                                  \
  }
NIBBLE_TILE_PROBE(dot_int8_tiles, "amx-int8", "tdpbssd")
NIBBLE_TILE_PROBE(dot_bfloat16_tiles, "amx-bf16", "tdpbf16ps")
#undef NIBBLE_TILE_PROBE

/// Reads `size` bytes, a positive multiple of 256 from an address that is a multiple of 32, by
/// 256-bit loads.
[[gnu::target("avx2"), gnu::noinline]] inline void read_ymm(const std::byte* data,
                                                            std::size_t size) {
  const std::byte* const end = data + size;
  asm volatile(
      "1:\n"
      ".irp i,0,1,2,3,4,5,6,7\n vmovdqa 32*\\i(%[data]), %%ymm\\i\n .endr\n"
      "add $256, %[data]\n"
      "cmp %[end], %[data]\n"
      "jne 1b\n"
      "vzeroupper"
      : [data] "+r"(data)
      : [end] "r"(end)
      : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
}

}  // namespace nibble::example::x86

#endif
