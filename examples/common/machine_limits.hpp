// What the machine can do at most: how fast it reads memory, and how fast it multiplies and adds.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <nibble/core/aligned_buffer.hpp>

namespace nibble::example {

/// The numbers that are multiplied; the sums are 32 bits wide.
enum class Arithmetic { Int8, BFloat16, Float32, Int8Tiles, BFloat16Tiles };
inline constexpr std::array<std::string_view, 5> arithmetic_names{"int8", "bfloat16", "float32",
                                                                  "int8 tiles", "bfloat16 tiles"};

/// The same numbers on matrix registers.
[[nodiscard]] constexpr Arithmetic on_tiles(Arithmetic arithmetic) noexcept {
  return arithmetic == Arithmetic::Int8       ? Arithmetic::Int8Tiles
         : arithmetic == Arithmetic::BFloat16 ? Arithmetic::BFloat16Tiles
                                              : arithmetic;
}

/// A loop over nothing but one instruction, or the few that stand for it.
struct PeakProbe {
  Arithmetic arithmetic;
  std::string_view isa;          // what the names of the instruction sets begin with that use it
  std::string_view instruction;  // for people
  bool (*supported)();
  void (*run)(std::int64_t rounds);
  int macs;  // multiply-accumulates of a round
};

/// Measures the limits of an instruction set on some threads, all of them at the same time.
class MachineLimits {
 public:
  /// `isa` is a KernelTable's. Takes 1 GiB of memory. Throws std::bad_alloc, and
  /// std::system_error where threads cannot be started.
  MachineLimits(std::string_view isa, int threads);

  /// Bytes that the memory takes.
  static constexpr std::size_t memory = std::size_t{1} << 30;

  /// The instruction whose rate is the peak, "" where the instruction set has none for it.
  [[nodiscard]] std::string_view instruction(Arithmetic arithmetic) const noexcept;

  /// Multiply-accumulates per second, measured for some milliseconds; 0 without an instruction.
  [[nodiscard]] double peak(Arithmetic arithmetic) const;

  /// Bytes per second of one pass over 1 GiB on huge pages, each thread over a part of its own: by
  /// 256-bit loads, or by 64-bit ones where the CPU lacks those.
  [[nodiscard]] double read_bandwidth() const;

 private:
  int threads_;
  AlignedBuffer buffer_{memory};
  std::array<const PeakProbe*, arithmetic_names.size()> probes_{};
};

}  // namespace nibble::example
