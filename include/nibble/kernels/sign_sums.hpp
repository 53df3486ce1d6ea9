// Float queries against sign bits: sums of the query's components where a row's bit is set.
#pragma once

#include <cstdint>
#include <cstring>

#include <nibble/core/checked.hpp>
#include <nibble/simd/simd.hpp>

namespace nibble {

/// One query against some rows of packed bits.
struct SignSumTask {
  /// [row_bytes * 8, rounded up to 16]: query[8 b + j] belongs to bit j of byte b, from the least
  /// significant on (so in bytes packed with the first dimension at the most significant bit, each
  /// run of eight components is reversed); zeros where there is no bit.
  const float* query = nullptr;
  const std::uint8_t* rows = nullptr;  // [count][stride], the first row_bytes of each used
  Index count = 0;
  Index stride = 0;
  Index row_bytes = 0;
  float* sums = nullptr;  // [count]
};

/// sums[r] = the sum of the query's components whose bit is set in row r. With the bits read as +1
/// and -1, the inner product is 2 sums[r] - the sum of all components.
template <simd::InstructionSet Isa>
void sign_sums(const SignSumTask& task) noexcept {
  using Floats = simd::Floats<Isa>;
  for (Index r = 0; r < task.count; ++r) {
    const std::uint8_t* row = task.rows + r * task.stride;
    Floats even = Floats::broadcast(0.0F);
    Floats odd = even;
    const auto add = [&](Floats& sum, Index byte, Index bytes) {
      std::uint16_t bits = 0;
      std::memcpy(&bits, row + byte, static_cast<std::size_t>(bytes));
      sum = simd::add_where(sum, bits, Floats::load(task.query + 8 * byte));
    };
    Index byte = 0;
    for (; byte + 4 <= task.row_bytes; byte += 4) {
      add(even, byte, 2);
      add(odd, byte + 2, 2);
    }
    if (byte + 2 <= task.row_bytes) {
      add(even, byte, 2);
      byte += 2;
    }
    if (byte < task.row_bytes) add(odd, byte, 1);
    task.sums[r] = simd::reduce_sum(even + odd);
  }
}

}  // namespace nibble
