// Checksums of file contents: XXH64, fast enough to check gigabytes as they are read.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace nibble {

namespace checksum_detail {

inline constexpr std::uint64_t prime_1 = 0x9E3779B185EBCA87ULL;
inline constexpr std::uint64_t prime_2 = 0xC2B2AE3D27D4EB4FULL;
inline constexpr std::uint64_t prime_3 = 0x165667B19E3779F9ULL;
inline constexpr std::uint64_t prime_4 = 0x85EBCA77C2B2AE63ULL;
inline constexpr std::uint64_t prime_5 = 0x27D4EB2F165667C5ULL;

template <class Word>
[[nodiscard]] inline std::uint64_t load(const std::byte* data) noexcept {
  Word word = 0;
  std::memcpy(&word, data, sizeof word);
  return word;
}

[[nodiscard]] inline std::uint64_t mix(std::uint64_t lane, std::uint64_t word) noexcept {
  return std::rotl(lane + word * prime_2, 31) * prime_1;
}

}  // namespace checksum_detail

/// XXH64 with seed 0. It finds damage, not forgery. Source: Collet, "xxHash fast digest algorithm",
/// specification 0.1.1.
[[nodiscard]] inline std::uint64_t checksum(std::span<const std::byte> bytes) noexcept {
  using namespace checksum_detail;
  const std::byte* at = bytes.data();
  std::size_t left = bytes.size();
  std::uint64_t hash = prime_5;
  if (left >= 32) {
    std::uint64_t lanes[4] = {prime_1 + prime_2, prime_2, 0, std::uint64_t{0} - prime_1};
    for (; left >= 32; left -= 32) {
      for (std::uint64_t& lane : lanes) {
        lane = mix(lane, load<std::uint64_t>(at));
        at += 8;
      }
    }
    hash = std::rotl(lanes[0], 1) + std::rotl(lanes[1], 7) + std::rotl(lanes[2], 12) +
           std::rotl(lanes[3], 18);
    for (const std::uint64_t lane : lanes) hash = (hash ^ mix(0, lane)) * prime_1 + prime_4;
  }
  hash += bytes.size();
  for (; left >= 8; left -= 8, at += 8) {
    hash = std::rotl(hash ^ mix(0, load<std::uint64_t>(at)), 27) * prime_1 + prime_4;
  }
  if (left >= 4) {
    hash = std::rotl(hash ^ load<std::uint32_t>(at) * prime_1, 23) * prime_2 + prime_3;
    at += 4;
    left -= 4;
  }
  for (; left > 0; --left, ++at) {
    hash = std::rotl(hash ^ load<std::uint8_t>(at) * prime_5, 11) * prime_1;
  }
  hash = (hash ^ (hash >> 33)) * prime_2;
  hash = (hash ^ (hash >> 29)) * prime_3;
  return hash ^ (hash >> 32);
}

}  // namespace nibble
