#include "nibble/io/checksum.hpp"

#include <string>

#include "io_test_support.hpp"

using nibble::checksum;
using nibble::test::as_bytes;

TEST_CASE("checksums are XXH64's", "[checksum]") {
  CHECK(checksum({}) == 0xEF46DB3751D8E999ULL);
  CHECK(checksum(as_bytes("a")) == 0xD24EC4F1A98C6E5BULL);
  CHECK(checksum(as_bytes("abc")) == 0x44BC2CF5AD770999ULL);
  CHECK(checksum(as_bytes("Nobody inspects the spammish repetition")) == 0xFBCEA83C8A378BF1ULL);
}

TEST_CASE("every bit of every length counts", "[checksum]") {
  for (std::size_t size = 1; size <= 100; ++size) {
    std::string bytes(size, 'x');
    const auto before = checksum(as_bytes(bytes));
    for (std::size_t i = 0; i < size; ++i) {
      bytes[i] = static_cast<char>(bytes[i] ^ (1 << (i % 8)));
      CHECK(checksum(as_bytes(bytes)) != before);
      bytes[i] = 'x';
    }
    bytes.push_back('\0');
    CHECK(checksum(as_bytes(bytes)) != before);
  }
}
