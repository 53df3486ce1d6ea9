// Every primitive for every instruction set that the compiler's flags allow.
#pragma once

#include <nibble/simd/avx2.hpp>
#include <nibble/simd/avx512vnni.hpp>
#include <nibble/simd/avxvnni.hpp>
#include <nibble/simd/dot4.hpp>
#include <nibble/simd/half_lanes.hpp>
#include <nibble/simd/isa.hpp>
#include <nibble/simd/lanes.hpp>
#include <nibble/simd/neon.hpp>
#include <nibble/simd/neondotprod.hpp>
#include <nibble/simd/sse2.hpp>
#include <nibble/simd/unroll.hpp>
