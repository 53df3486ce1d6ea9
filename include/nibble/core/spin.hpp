// Waiting for another thread for a moment without going to sleep.
#pragma once

#include <chrono>
#include <thread>

#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#endif

namespace nibble {

/// Tells the CPU that this thread waits in a loop: less power, and more of a shared core for its
/// other thread.
inline void pause_cpu() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  _mm_pause();
#elif defined(__aarch64__)
  asm("yield");
#else
  std::this_thread::yield();
#endif
}

/// Asks condition() again and again until it holds or the time is over; returns its last answer.
template <class Condition>
[[nodiscard]] bool spin_until(Condition&& condition, std::chrono::microseconds time) noexcept {
  if (condition()) return true;
  if (time.count() <= 0) return false;
  const auto end = std::chrono::steady_clock::now() + time;
  do {
    for (int i = 0; i < 32; ++i) {  // a clock costs more than a pause
      pause_cpu();
      if (condition()) return true;
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace nibble
