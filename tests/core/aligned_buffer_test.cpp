#include "nibble/core/aligned_buffer.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <new>
#include <utility>

#include "support/catch.hpp"

using nibble::AlignedBuffer;

namespace {

bool all_zero(const AlignedBuffer& buffer) {
  return std::all_of(buffer.bytes().begin(), buffer.bytes().end(),
                     [](std::byte byte) { return byte == std::byte{0}; });
}

bool aligned(const AlignedBuffer& buffer, std::uintptr_t step) {
  return reinterpret_cast<std::uintptr_t>(buffer.data()) % step == 0;
}

}  // namespace

TEST_CASE("a buffer is aligned and zeroed whatever its size", "[aligned_buffer]") {
  for (const std::size_t size : {1U, 63U, 64U, 65U, 4097U, 1U << 20}) {
    AlignedBuffer buffer(size);
    CAPTURE(size);
    CHECK(buffer.size() == size);
    CHECK(aligned(buffer, nibble::alignment));
    CHECK(all_zero(buffer));
    std::fill_n(buffer.data(), size, std::byte{0xFF});  // all of it may be written
  }
}

TEST_CASE("a large buffer starts at a huge page", "[aligned_buffer]") {
  const AlignedBuffer buffer((std::size_t{2} << 20) + 1);
  CHECK(aligned(buffer, std::uintptr_t{2} << 20));
  CHECK(all_zero(buffer));
}

TEST_CASE("an exact buffer is like any other", "[aligned_buffer]") {
  for (const std::size_t size : {0U, 1U, 100U, (2U << 20) - 1, (2U << 20) + 1, (5U << 20) + 777}) {
    AlignedBuffer buffer = AlignedBuffer::exact(size);
    CAPTURE(size);
    CHECK(buffer.size() == size);
    CHECK(aligned(buffer, size < 2U << 20 ? nibble::alignment : std::uintptr_t{2} << 20));
    CHECK(all_zero(buffer));
    std::fill_n(buffer.data(), size, std::byte{0xFF});
  }
  CHECK_THROWS_AS(AlignedBuffer::exact(std::numeric_limits<std::size_t>::max()), std::bad_alloc);
}

TEST_CASE("an empty buffer has no bytes", "[aligned_buffer]") {
  CHECK(AlignedBuffer().bytes().empty());
  CHECK(AlignedBuffer(0).bytes().empty());
}

TEST_CASE("a size that cannot be had throws and does not wrap", "[aligned_buffer]") {
  for (const std::size_t less : {std::size_t{0}, std::size_t{1}, std::size_t{63}}) {
    CHECK_THROWS_AS(AlignedBuffer(std::numeric_limits<std::size_t>::max() - less), std::bad_alloc);
  }
}

TEST_CASE("a buffer that was moved from is empty", "[aligned_buffer]") {
  AlignedBuffer from(100);
  from.data()[7] = std::byte{42};
  AlignedBuffer to(std::move(from));
  CHECK(from.size() == 0);  // NOLINT: what is left behind is specified
  CHECK(from.data() == nullptr);
  CHECK(to.data()[7] == std::byte{42});
  from.reserve(10);
  CHECK(from.size() == 10);
  from = std::move(to);
  CHECK(to.size() == 0);
  CHECK(from.size() == 100);
  CHECK(from.data()[7] == std::byte{42});
}

TEST_CASE("reserve grows and never shrinks", "[aligned_buffer]") {
  AlignedBuffer buffer(100);
  buffer.data()[0] = std::byte{1};
  buffer.reserve(50);
  CHECK(buffer.size() == 100);
  CHECK(buffer.data()[0] == std::byte{1});
  buffer.reserve(200);
  CHECK(buffer.size() == 200);
  CHECK(all_zero(buffer));
}

TEST_CASE("the bytes as numbers", "[aligned_buffer]") {
  AlignedBuffer buffer(8);
  buffer.as<std::uint32_t>()[1] = 0x04030201;
  CHECK(buffer.data()[4] == std::byte{1});
  CHECK(buffer.data()[7] == std::byte{4});
}
