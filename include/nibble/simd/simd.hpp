// Every primitive for every instruction set that the compiler's flags allow.
#pragma once

#include <nibble/simd/amx.hpp>
#include <nibble/simd/avx2.hpp>
#include <nibble/simd/avx512bf16.hpp>
#include <nibble/simd/avx512vnni.hpp>
#include <nibble/simd/avx512vpopcntdq.hpp>
#include <nibble/simd/avxvnni.hpp>
#include <nibble/simd/bit_count.hpp>
#include <nibble/simd/dot2.hpp>
#include <nibble/simd/dot4.hpp>
#include <nibble/simd/exp.hpp>
#include <nibble/simd/half_lanes.hpp>
#include <nibble/simd/isa.hpp>
#include <nibble/simd/lanes.hpp>
#include <nibble/simd/neon.hpp>
#include <nibble/simd/neondotprod.hpp>
#include <nibble/simd/prefetch.hpp>
#include <nibble/simd/sse2.hpp>
#include <nibble/simd/tiles.hpp>
#include <nibble/simd/unroll.hpp>
