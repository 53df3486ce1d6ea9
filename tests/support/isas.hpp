// The instruction sets that the compiler's flags allow, for tests that run on each of them.
#pragma once

#include <tuple>

#include "nibble/simd/simd.hpp"

namespace nibble::test {

using Isas = std::tuple<simd::Portable, simd::Generic
#if defined(NIBBLE_HAS_AVX2)
                        ,
                        simd::Avx2
#endif
#if defined(NIBBLE_HAS_AVXVNNI)
                        ,
                        simd::AvxVnni
#endif
#if defined(NIBBLE_HAS_AVX512VNNI)
                        ,
                        simd::Avx512Vnni
#endif
#if defined(NIBBLE_HAS_AVX512BF16)
                        ,
                        simd::Avx512Bf16
#endif
#if defined(NIBBLE_HAS_AMX)
                        ,
                        simd::Amx
#endif
#if defined(NIBBLE_HAS_AVX512VPOPCNTDQ)
                        ,
                        simd::Avx512Vpopcntdq
#endif
#if defined(NIBBLE_HAS_NEONDOTPROD)
                        ,
                        simd::NeonDotprod
#endif
                        >;

/// Half the distance from 1 to the next float: the largest relative error of one rounding.
inline constexpr double float_epsilon = 0x1p-24;

}  // namespace nibble::test
