// How long a short call takes.
#pragma once

#include <nibble/core/function_ref.hpp>

#include "common/report.hpp"

namespace nibble::example {

/// Seconds of a call: the mean over some milliseconds.
[[nodiscard]] inline double seconds_of(FunctionRef<void()> body) {
  constexpr double least_seconds = 0.05;
  int calls = 0;
  double seconds = 0;
  const Stopwatch stopwatch;
  for (; seconds < least_seconds; seconds = stopwatch.seconds(), ++calls) body();
  return seconds / calls;
}

}  // namespace nibble::example
