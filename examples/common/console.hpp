// What a program says on stderr: a banner, a progress bar where a terminal watches, and notes.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

#include <nibble/core/progress.hpp>
#include <nibble/io/describe.hpp>

#if defined(_WIN32)
#include <io.h>
#else
#include <unistd.h>
#endif

namespace nibble::example {

/// Whether Ctrl-C was pressed since `watch_for_interrupts`; a second one ends the program at once.
inline std::atomic<bool> interrupted{false};

inline void watch_for_interrupts() {
  std::signal(SIGINT, [](int) {
    interrupted = true;
    std::signal(SIGINT, SIG_DFL);
  });
}

/// Whether a bar can be drawn on stderr.
[[nodiscard]] inline bool stderr_is_terminal() {
#if defined(_WIN32)
  return ::_isatty(2) != 0;
#else
  const char* terminal = std::getenv("TERM");
  return ::isatty(2) != 0 && terminal != nullptr && std::string_view(terminal) != "dumb";
#endif
}

/// stderr. Elsewhere than on a terminal it stays silent but for the banner, notes, and a line every
/// ten seconds of something that takes long.
class Console {
 public:
  Console() { watch_for_interrupts(); }
  ~Console() { clear(); }
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  /// Says what will run, once it runs: the next progress or note shows the text. So what fails
  /// before then leaves the error as the only line.
  void banner(std::string text) { banner_ = std::move(text); }

  /// What the progress that follows is a part of; "" for none.
  void task(std::string name) { task_ = std::move(name); }

  /// Draws the bar, and cancels when interrupted. Borrows the console.
  [[nodiscard]] Progress progress() {
    return [this](std::string_view stage, Index done, Index total) {
      if (!banner_.empty()) show_banner();
      step(stage, done, total);
      return !interrupted;
    };
  }

  /// The same for loading a model: the banner waits, as an argument may still turn out to be wrong.
  [[nodiscard]] Progress loading() {
    return [this](std::string_view stage, Index done, Index total) {
      step(stage, done, total);
      return !interrupted;
    };
  }

  /// A line of its own.
  void note(std::string_view text) {
    clear();
    show_banner();
    print(std::string(text) + "\n");
  }

  /// Shows the banner now, where it was not shown yet, and takes the bar away.
  void show_banner() {
    clear();
    if (!banner_.empty()) print(std::exchange(banner_, {}) + "\n");
  }

 private:
  using Clock = std::chrono::steady_clock;

  static void print(const std::string& text) {
    std::fputs(text.c_str(), stderr);
    std::fflush(stderr);
  }

  void clear() {
    if (drawn_) print("\r\x1b[K");
    drawn_ = false;
  }

  void step(std::string_view stage, Index done, Index total) {
    using namespace std::chrono_literals;
    const Clock::time_point now = Clock::now();
    if (done == 0) start_ = shown_ = now;
    if (done >= total) return clear();
    if (done != 0 && now - shown_ < (terminal_ ? Clock::duration(50ms) : Clock::duration(10s))) {
      return;
    }
    if (done == 0 && !terminal_) return;
    shown_ = now;
    std::string text = task_.empty() ? std::string() : task_ + ": ";
    text += concat(printable(stage), " ", done, "/", total);
    if (done > 0) {
      const auto spent = std::chrono::duration<double>(now - start_).count();
      const auto left =
          static_cast<Index>(spent * static_cast<double>(total - done) / static_cast<double>(done));
      text += concat(", ", left / 60, left % 60 < 10 ? ":0" : ":", left % 60, " left");
    }
    if (!terminal_) return print(text + "\n");
    constexpr Index width = 20;
    const Index full = std::clamp(width * done / total, Index{0}, width);
    std::string bar;
    for (Index i = 0; i < width; ++i) bar += i < full ? "█" : "░";
    print("\r\x1b[K" + bar + " " + text.substr(0, 78 - static_cast<std::size_t>(width)));
    drawn_ = true;
  }

  bool terminal_ = stderr_is_terminal();
  bool drawn_ = false;
  std::string banner_, task_;
  Clock::time_point start_ = Clock::now();
  Clock::time_point shown_ = start_;
};

}  // namespace nibble::example
