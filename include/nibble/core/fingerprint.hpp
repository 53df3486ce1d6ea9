// A short number that tells one sequence of bytes from another.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace nibble {

/// 64 bits that are the same for the same calls of `add`, on every machine of the same byte order,
/// and with near certainty differ for others, though not against somebody who wants them to
/// collide. Takes bytes about as fast as memory delivers them.
class Fingerprint {
 public:
  void add(std::span<const std::byte> bytes) noexcept {
    mix(0, bytes.size());
    // Four independent chains, so that multiplications overlap.
    for (; bytes.size() >= block; bytes = bytes.subspan(block)) take(bytes.data(), block);
    if (!bytes.empty()) take(bytes.data(), bytes.size());
  }
  void add(std::string_view text) noexcept { add(std::as_bytes(std::span(text))); }

  /// Sixteen hexadecimal digits.
  [[nodiscard]] std::string text() const {
    constexpr std::string_view digits = "0123456789abcdef";
    std::uint64_t all = 0;
    for (const std::uint64_t lane : lanes_) all = step(all, lane);
    std::string text;
    for (int shift = 60; shift >= 0; shift -= 4) text += digits[(all >> shift) & 15];
    return text;
  }

 private:
  static constexpr std::size_t block = 4 * sizeof(std::uint64_t);

  /// As in FNV-1a, with a word at a time and the high half, where multiplication mixes, folded in.
  [[nodiscard]] static constexpr std::uint64_t step(std::uint64_t lane,
                                                    std::uint64_t word) noexcept {
    const std::uint64_t product = (lane ^ word) * 0x9E3779B97F4A7C15U;
    return product ^ (product >> 32);
  }
  void mix(std::size_t lane, std::uint64_t word) noexcept {
    lanes_[lane] = step(lanes_[lane], word);
  }
  void take(const std::byte* bytes, std::size_t size) noexcept {
    std::array<std::uint64_t, 4> words{};
    std::memcpy(words.data(), bytes, size);
    for (std::size_t i = 0; i < words.size(); ++i) mix(i, words[i]);
  }

  std::array<std::uint64_t, 4> lanes_{1, 2, 3, 4};
};

}  // namespace nibble
