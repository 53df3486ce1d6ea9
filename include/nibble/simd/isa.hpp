// Instruction sets as types: kernels are templates over a tag, and fall back along inheritance.
#pragma once

#include <concepts>

#include <xsimd/xsimd.hpp>

namespace nibble::simd {

/// Plain C++, no vector instruction named; what Generic does too where xsimd knows no vectors.
/// A tag's `name` is its id: in tables, in reports, in the environment variable NIBBLE_ISA.
struct Portable {
  using Arch = void;
  static constexpr bool signed_codes = false;  // bytes of both signs are multiplied best
  static constexpr bool has_dot2 = false;      // the dot product of bfloat16 pairs
  static constexpr bool has_tiles = false;     // registers that hold matrices, see tiles.hpp
  static constexpr int registers = 16;         // vector registers that kernels may count on
  static constexpr const char* name = "portable";
};

/// A tag of this file, or one that extends it.
template <class T>
concept InstructionSet = std::derived_from<T, Portable>;

/// One that multiplies pairs of bfloat16 and adds them up as float32.
template <class T>
concept Dot2InstructionSet = InstructionSet<T> && T::has_dot2;

/// One with registers that hold matrices.
template <class T>
concept TileInstructionSet = Dot2InstructionSet<T> && T::has_tiles;

/// The vectors that every CPU of the family has, through xsimd.
struct Generic : Portable {
#if XSIMD_WITH_SSE2
  using Arch = xsimd::sse2;
#elif XSIMD_WITH_NEON64
  using Arch = xsimd::neon64;
  static constexpr int registers = 32;
  static constexpr bool signed_codes = true;
#endif
  static constexpr const char* name = "generic";
};

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__) && XSIMD_WITH_FMA3_AVX2
#define NIBBLE_HAS_AVX2 1
/// AVX2, FMA and F16C.
struct Avx2 : Generic {
  using Arch = xsimd::fma3<xsimd::avx2>;
  static constexpr const char* name = "avx2";
};
#endif

#if defined(NIBBLE_HAS_AVX2) && defined(__AVXVNNI__)
#define NIBBLE_HAS_AVXVNNI 1
/// AVX2 with the byte dot product of AVX-VNNI, which CPUs with AVX-512 VNNI need not have.
struct AvxVnni : Avx2 {
  static constexpr const char* name = "avxvnni";
};
#endif

#if defined(NIBBLE_HAS_AVX2) && defined(__AVX512VNNI__) && defined(__AVX512VL__) && \
    XSIMD_WITH_AVX512BW
#define NIBBLE_HAS_AVX512VNNI 1
/// AVX-512 F, BW, DQ, VL and VNNI.
struct Avx512Vnni : Avx2 {
  using Arch = xsimd::avx512bw;
  static constexpr int registers = 32;
  static constexpr const char* name = "avx512vnni";
};
#endif

#if defined(NIBBLE_HAS_AVX512VNNI) && defined(__AVX512BF16__)
#define NIBBLE_HAS_AVX512BF16 1
/// AVX-512 VNNI and the dot product of bfloat16 pairs.
struct Avx512Bf16 : Avx512Vnni {
  static constexpr bool has_dot2 = true;
  static constexpr const char* name = "avx512bf16";
};
#endif

// (clang++ 14 spells the names of these macros in its own way.)
#if defined(NIBBLE_HAS_AVX512BF16) && (defined(__AMX_TILE__) || defined(__AMXTILE__)) && \
    (defined(__AMX_INT8__) || defined(__AMXINT8__)) &&                                   \
    (defined(__AMX_BF16__) || defined(__AMXBF16__))
#define NIBBLE_HAS_AMX 1
/// Avx512Bf16 and the tile registers of AMX. Never Native: a process must first ask its operating
/// system for the tiles, which dispatch::available() and dispatch::find("amx") do.
struct Amx : Avx512Bf16 {
  static constexpr bool has_tiles = true;
  static constexpr const char* name = "amx";
};
#endif

#if defined(NIBBLE_HAS_AVX512VNNI) && defined(__AVX512VPOPCNTDQ__)
#define NIBBLE_HAS_AVX512VPOPCNTDQ 1
/// Avx512Vnni and the count of set bits in each lane. It is a feature of its own: some CPUs with
/// AVX-512 VNNI, and some with BF16, lack it. So only the kernels that count bits have this tag, in
/// a table of their own (kernels/search_kernels.hpp), and it is never Native.
struct Avx512Vpopcntdq : Avx512Vnni {
  static constexpr const char* name = "avx512vpopcntdq";
};
#endif

#if XSIMD_WITH_NEON64 && defined(__ARM_FEATURE_DOTPROD)
#define NIBBLE_HAS_NEONDOTPROD 1
/// NEON with the byte dot product, optional from ARMv8.2 and part of ARMv8.4.
struct NeonDotprod : Generic {
  static constexpr const char* name = "neondotprod";
};
#endif

/// The last that the compiler's flags allow.
#if defined(NIBBLE_HAS_AVX512BF16)
using Native = Avx512Bf16;
#elif defined(NIBBLE_HAS_AVX512VNNI)
using Native = Avx512Vnni;
#elif defined(NIBBLE_HAS_AVXVNNI)
using Native = AvxVnni;
#elif defined(NIBBLE_HAS_AVX2)
using Native = Avx2;
#elif defined(NIBBLE_HAS_NEONDOTPROD)
using Native = NeonDotprod;
#else
using Native = Generic;
#endif

/// The last that the compiler's flags allow of those that search kernels tell apart.
#if defined(NIBBLE_HAS_AVX512VPOPCNTDQ)
using NativeSearch = Avx512Vpopcntdq;
#elif defined(NIBBLE_HAS_AVX2)
using NativeSearch = Avx2;
#else
using NativeSearch = Generic;
#endif

/// The name of an instruction set, by default of the one that the compiler's flags allow.
template <InstructionSet Isa = Native>
[[nodiscard]] constexpr const char* describe() noexcept {
  return Isa::name;
}

}  // namespace nibble::simd
