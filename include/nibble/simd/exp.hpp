// The exponential function of sixteen numbers.
#pragma once

#include <cmath>

#include <nibble/simd/lanes.hpp>
#include <nibble/simd/unroll.hpp>

namespace nibble::simd {

/// e^value within 2 ULP for values in [-87.33, 88.37]. Above, it may be infinity before e^value is
/// beyond a float; below, between 0 and the least normal float, at -infinity 0. NaN stays NaN.
template <InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> exp(const Floats<Isa>& value) noexcept {
  return exp(Isa{}, value);
}

template <InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> exp(Portable, const Floats<Isa>& value) noexcept {
  return Floats<Isa>::build([&](auto i) {
    if constexpr (Floats<Isa>::register_size == 1) {
      return std::exp(value.registers[i]);
    } else {
      return xsimd::exp(value.registers[i]);
    }
  });
}

/// value = count * ln 2 + rest, and the power e^rest.
template <InstructionSet Isa>
struct ReducedExp {
  Floats<Isa> shifted;  // count + 1.5 * 2^23, so the low mantissa bits are count
  Floats<Isa> count;    // the integer nearest to value / ln 2
  Floats<Isa> power;    // e^rest, |rest| <= 0.3466
};

/// For ISAs with a fused multiply-add and |value| < 2^21. The error of `power` = 1 + r p is below
/// 1.2 ULP (0.89 is the largest found): the last step's rounding 0.5; the roundings before it in
/// p 0.4 and in the rest r 0.25, both where the result is below 1; and 0.06 of the polynomial, a
/// minimax one with its first two coefficients 1 and a relative error of 3.2e-9.
template <InstructionSet Isa>
[[nodiscard]] inline ReducedExp<Isa> reduced_exp(const Floats<Isa>& value) noexcept {
  constexpr float log2_e = 0x1.715476p+0F;
  constexpr float magic = 12582912.0F;      // 1.5 * 2^23
  constexpr float ln2_high = 0x1.62e4p-1F;  // 16 bits, so that its products with count are exact
  constexpr float ln2_low = 0x1.7f7d1cp-20F;
  constexpr float coefficients[] = {0x1.6a4e6cp-10F, 0x1.123998p-7F, 0x1.5558bp-5F, 0x1.555492p-3F,
                                    0x1.fffffcp-2F,  1.0F,           1.0F};  // of r^6 to r^0
  ReducedExp<Isa> result;
  result.shifted = fma(value, Floats<Isa>::broadcast(log2_e), Floats<Isa>::broadcast(magic));
  result.count = result.shifted - Floats<Isa>::broadcast(magic);
  Floats<Isa> rest = fma(result.count, Floats<Isa>::broadcast(-ln2_high), value);
  rest = fma(result.count, Floats<Isa>::broadcast(-ln2_low), rest);
  result.power = Floats<Isa>::broadcast(coefficients[0]);
  unroll<6>([&](auto i) {
    constexpr float coefficient = coefficients[i + 1];
    result.power = fma(result.power, rest, Floats<Isa>::broadcast(coefficient));
  });
  return result;
}

}  // namespace nibble::simd
