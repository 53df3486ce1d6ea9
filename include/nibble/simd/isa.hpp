// Instruction sets as types: kernels are templates over a tag, and fall back along inheritance.
#pragma once

#include <concepts>

#include <xsimd/xsimd.hpp>

namespace nibble::simd {

/// Plain C++, no vector instruction named. Also what Generic is where xsimd knows no architecture.
struct Portable {
  using Arch = void;
  static constexpr const char* name = "portable";
};

/// A tag of this file, or one that extends it.
template <class T>
concept InstructionSet = std::derived_from<T, Portable>;

/// The vectors that every CPU of the family has, through xsimd.
struct Generic : Portable {
#if XSIMD_WITH_SSE2
  using Arch = xsimd::sse2;
  static constexpr const char* name = "generic (SSE2)";
#elif XSIMD_WITH_NEON64
  using Arch = xsimd::neon64;
  static constexpr const char* name = "generic (NEON)";
#endif
};

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__) && XSIMD_WITH_FMA3_AVX2
#define NIBBLE_HAS_AVX2 1
/// AVX2, FMA and F16C.
struct Avx2 : Generic {
  using Arch = xsimd::fma3<xsimd::avx2>;
  static constexpr const char* name = "AVX2";
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
  static constexpr const char* name = "AVX-512 VNNI";
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
#if defined(NIBBLE_HAS_AVX512VNNI)
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

/// The name of an instruction set, by default of the one that the compiler's flags allow.
template <InstructionSet Isa = Native>
[[nodiscard]] constexpr const char* describe() noexcept {
  return Isa::name;
}

}  // namespace nibble::simd
