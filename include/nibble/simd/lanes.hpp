// Sixteen numbers, one per output row of a panel, held in as many registers as the ISA needs.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include <nibble/simd/compat.hpp>
#include <nibble/simd/isa.hpp>

namespace nibble::simd {

/// Lanes in a vector: the rows of a panel.
inline constexpr int lane_count = 16;

template <class T>
concept LaneType = std::same_as<T, float> || std::same_as<T, double> ||
    std::same_as<T, std::int32_t> || std::same_as<T, std::uint32_t>;

/// The register that holds some of the lanes: an xsimd batch, or one number where the ISA has none.
template <LaneType T, InstructionSet Isa>
struct RegisterOf {
  using type = xsimd::batch<T, typename Isa::Arch>;
  static constexpr int size = static_cast<int>(type::size);
};
template <LaneType T, InstructionSet Isa>
requires std::is_void_v<typename Isa::Arch>
struct RegisterOf<T, Isa> {
  using type = T;
  static constexpr int size = 1;
};

/// Sixteen lanes of T. Every operation acts on each lane alone, except the reductions.
template <LaneType T, InstructionSet Isa>
struct Lanes {
  using Register = typename RegisterOf<T, Isa>::type;
  static constexpr int register_size = RegisterOf<T, Isa>::size;
  static constexpr std::size_t register_count = lane_count / register_size;

  std::array<Register, register_count> registers;

  [[nodiscard]] static Lanes broadcast(T value) noexcept {
    return build([&](auto) { return Register(value); });
  }
  /// From `lane_count` numbers at any address.
  [[nodiscard]] static Lanes load(const T* data) noexcept {
    if constexpr (register_size == 1) {
      return build([&](auto i) { return data[i]; });
    } else {
      return build([&](auto i) { return Register::load_unaligned(data + i * register_size); });
    }
  }
  void store(T* data) const noexcept {
    for_each([&](auto i) {
      if constexpr (register_size == 1) {
        data[i] = registers[i];
      } else {
        registers[i].store_unaligned(data + i * register_size);
      }
    });
  }

  /// Makes lanes from make(register index), with the index a compile-time constant.
  template <class Make>
  [[nodiscard]] static Lanes build(Make&& make) noexcept {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return Lanes{{make(std::integral_constant<std::size_t, I>{})...}};
    }
    (std::make_index_sequence<register_count>{});
  }
  template <class Visit>
  static void for_each(Visit&& visit) noexcept {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (visit(std::integral_constant<std::size_t, I>{}), ...);
    }
    (std::make_index_sequence<register_count>{});
  }

  friend Lanes operator+(const Lanes& a, const Lanes& b) noexcept {
    return build([&](auto i) { return Register(a.registers[i] + b.registers[i]); });
  }
  friend Lanes operator-(const Lanes& a, const Lanes& b) noexcept {
    return build([&](auto i) { return Register(a.registers[i] - b.registers[i]); });
  }
  friend Lanes operator*(const Lanes& a, const Lanes& b) noexcept {
    return build([&](auto i) { return Register(a.registers[i] * b.registers[i]); });
  }
  friend Lanes operator/(const Lanes& a, const Lanes& b) noexcept requires std::same_as<T, float> {
    return divide(Isa{}, a, b);
  }
  friend Lanes operator&(const Lanes& a, const Lanes& b) noexcept requires std::integral<T> {
    return build([&](auto i) { return Register(a.registers[i] & b.registers[i]); });
  }
  friend Lanes operator|(const Lanes& a, const Lanes& b) noexcept requires std::integral<T> {
    return build([&](auto i) { return Register(a.registers[i] | b.registers[i]); });
  }
  friend Lanes operator^(const Lanes& a, const Lanes& b) noexcept
      requires(!std::same_as<T, float>) {
    return build([&](auto i) { return Register(a.registers[i] ^ b.registers[i]); });
  }
  /// By 0 to 31 bits, logical for unsigned lanes.
  friend Lanes operator>>(const Lanes& a, int bits) noexcept requires std::integral<T> {
    return shift_right(Isa{}, a, bits);
  }
  friend Lanes operator<<(const Lanes& a, int bits) noexcept requires std::integral<T> {
    return shift_left(Isa{}, a, bits);
  }
};

template <InstructionSet Isa>
using Floats = Lanes<float, Isa>;
template <InstructionSet Isa>
using Doubles = Lanes<double, Isa>;
template <InstructionSet Isa>
using Ints = Lanes<std::int32_t, Isa>;
template <InstructionSet Isa>
using Words = Lanes<std::uint32_t, Isa>;

/// a / b, correctly rounded.
template <InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> divide(Portable, const Floats<Isa>& a,
                                        const Floats<Isa>& b) noexcept {
  using Register = typename Floats<Isa>::Register;
  return Floats<Isa>::build([&](auto i) { return Register(a.registers[i] / b.registers[i]); });
}

template <LaneType T, InstructionSet Isa>
[[nodiscard]] inline Lanes<T, Isa> shift_right(Portable, const Lanes<T, Isa>& a,
                                               int bits) noexcept {
  using Register = typename Lanes<T, Isa>::Register;
  return Lanes<T, Isa>::build([&](auto i) { return Register(a.registers[i] >> bits); });
}
template <LaneType T, InstructionSet Isa>
[[nodiscard]] inline Lanes<T, Isa> shift_left(Portable, const Lanes<T, Isa>& a, int bits) noexcept {
  using Register = typename Lanes<T, Isa>::Register;
  return Lanes<T, Isa>::build([&](auto i) { return Register(a.registers[i] << bits); });
}

/// Sixteen pairs of numbers, taken apart.
template <InstructionSet Isa>
struct Pairs {
  Floats<Isa> first, second;
};

/// From 32 numbers at any address: first, second, first, second, ...
template <InstructionSet Isa>
[[nodiscard]] inline Pairs<Isa> load_pairs(const float* data) noexcept {
  return load_pairs(Isa{}, data, Floats<Isa>{});
}

/// `Floats<Isa>` is passed for its type alone.
template <InstructionSet Isa>
[[nodiscard]] inline Pairs<Isa> load_pairs(Portable, const float* data, Floats<Isa>) noexcept {
  float first[lane_count], second[lane_count];
  for (int i = 0; i < lane_count; ++i) {
    first[i] = data[2 * i];
    second[i] = data[2 * i + 1];
  }
  return {Floats<Isa>::load(first), Floats<Isa>::load(second)};
}

/// The same bits as another type.
template <LaneType To, LaneType From, InstructionSet Isa>
[[nodiscard]] inline Lanes<To, Isa> bitwise_cast(const Lanes<From, Isa>& value) noexcept {
  return bitwise_cast<To>(Isa{}, value);
}

template <LaneType To, LaneType From, InstructionSet Isa>
[[nodiscard]] inline Lanes<To, Isa> bitwise_cast(Portable, const Lanes<From, Isa>& value) noexcept {
  return Lanes<To, Isa>::build([&](auto i) {
    if constexpr (Lanes<To, Isa>::register_size == 1) {
      return std::bit_cast<To>(value.registers[i]);
    } else {
      return compat::bitwise_cast<To>(value.registers[i]);
    }
  });
}

/// Integers to floats, exact up to 2^24.
template <InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> to_float(const Ints<Isa>& value) noexcept {
  return Floats<Isa>::build([&](auto i) {
    if constexpr (Ints<Isa>::register_size == 1) {
      return static_cast<float>(value.registers[i]);
    } else {
      return xsimd::to_float(value.registers[i]);
    }
  });
}

/// The nearest integers, ties to even, for |value| < 2^22; for NaN, some integer.
template <InstructionSet Isa>
[[nodiscard]] inline Ints<Isa> to_nearest_int(const Floats<Isa>& value) noexcept {
  // Adding 1.5 * 2^23 leaves the integer in the low mantissa bits, rounded by the addition.
  constexpr float magic = 12582912.0F;
  return bitwise_cast<std::int32_t>(value + Floats<Isa>::broadcast(magic)) -
         Ints<Isa>::broadcast(std::bit_cast<std::int32_t>(magic));
}

/// The larger of each lane; where one is NaN, either.
template <LaneType T, InstructionSet Isa>
[[nodiscard]] inline Lanes<T, Isa> max(const Lanes<T, Isa>& a, const Lanes<T, Isa>& b) noexcept {
  return Lanes<T, Isa>::build([&](auto i) {
    if constexpr (Lanes<T, Isa>::register_size == 1) {
      return a.registers[i] < b.registers[i] ? b.registers[i] : a.registers[i];
    } else {
      return xsimd::max(a.registers[i], b.registers[i]);
    }
  });
}

template <InstructionSet Isa>
[[nodiscard]] inline Floats<Isa> abs(const Floats<Isa>& value) noexcept {
  return bitwise_cast<float>(bitwise_cast<std::uint32_t>(value) &
                             Words<Isa>::broadcast(0x7FFFFFFFU));
}

/// a * b + c, rounded once wherever the ISA has a fused multiply-add (all but SSE2 and Portable).
template <LaneType T, InstructionSet Isa>
requires std::floating_point<T>
[[nodiscard]] inline Lanes<T, Isa> fma(const Lanes<T, Isa>& a, const Lanes<T, Isa>& b,
                                       const Lanes<T, Isa>& c) noexcept {
  return fma(Isa{}, a, b, c);
}

template <LaneType T, InstructionSet Isa>
requires std::floating_point<T>
[[nodiscard]] inline Lanes<T, Isa> fma(Portable, const Lanes<T, Isa>& a, const Lanes<T, Isa>& b,
                                       const Lanes<T, Isa>& c) noexcept {
  return Lanes<T, Isa>::build([&](auto i) {
    if constexpr (Lanes<T, Isa>::register_size == 1) {
      return a.registers[i] * b.registers[i] + c.registers[i];
    } else {
      return xsimd::fma(a.registers[i], b.registers[i], c.registers[i]);
    }
  });
}

/// The first `count` lanes to memory.
template <LaneType T, InstructionSet Isa>
inline void store_first(const Lanes<T, Isa>& value, T* data, int count) noexcept {
  if (count >= lane_count) return value.store(data);
  alignas(64) T lanes[lane_count];
  value.store(lanes);
  for (int i = 0; i < count; ++i) data[i] = lanes[i];
}

/// The sum of all lanes by one fixed tree: lanes 8 apart, then 4, 2 and 1.
template <LaneType T, InstructionSet Isa>
[[nodiscard]] inline T reduce_sum(const Lanes<T, Isa>& value) noexcept {
  return reduce(Isa{}, value, [](const auto& a, const auto& b) { return a + b; });
}

/// The largest lane; where one is NaN, any lane.
template <LaneType T, InstructionSet Isa>
[[nodiscard]] inline T reduce_max(const Lanes<T, Isa>& value) noexcept {
  return reduce(Isa{}, value, [](const auto& a, const auto& b) {
    if constexpr (std::is_arithmetic_v<std::decay_t<decltype(a)>>) {
      return a < b ? b : a;
    } else {
      return max(a, b);
    }
  });
}

/// combine over all lanes, those 8 apart first, then 4, 2 and 1; `combine` takes
/// numbers and xsimd batches of any size.
template <LaneType T, InstructionSet Isa, class Combine>
[[nodiscard]] inline T reduce(Portable, const Lanes<T, Isa>& value, Combine combine) noexcept {
  alignas(64) T lanes[lane_count];
  value.store(lanes);
  for (int distance = lane_count / 2; distance > 0; distance /= 2) {
    for (int i = 0; i < distance; ++i) lanes[i] = combine(lanes[i], lanes[i + distance]);
  }
  return lanes[0];
}

}  // namespace nibble::simd
