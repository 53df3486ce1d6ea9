#include "nibble/core/spin.hpp"

#include <atomic>
#include <chrono>
#include <thread>

#include "support/catch.hpp"

using nibble::spin_until;

TEST_CASE("spinning ends when the condition holds", "[spin]") {
  CHECK(spin_until([] { return true; }, std::chrono::microseconds(0)));
  int asked = 0;
  CHECK(spin_until([&] { return ++asked == 100; }, std::chrono::hours(1)));
  CHECK(asked == 100);
  std::atomic<bool> set = false;
  std::thread other([&] { set = true; });
  CHECK(spin_until([&] { return set.load(); }, std::chrono::hours(1)));
  other.join();
}

TEST_CASE("spinning ends when the time is over", "[spin]") {
  int asked = 0;
  CHECK_FALSE(spin_until([&] { return ++asked < 0; }, std::chrono::microseconds(0)));
  CHECK(asked == 1);
  CHECK_FALSE(spin_until([] { return false; }, std::chrono::microseconds(50)));
}
