// Progress and cancellation of everything that takes long.
#pragma once

#include <functional>
#include <string_view>

#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>

namespace nibble {

/// Called with what is being done, how many steps of it are finished and how many there are.
/// Returning false asks to stop: the operation then throws Cancelled. Called on the thread that
/// started the operation. An empty function is allowed and means "no interest".
using Progress = std::function<bool(std::string_view stage, Index done, Index total)>;

/// Reports a step; throws Cancelled when the callback says so.
inline void report(const Progress& progress, std::string_view stage, Index done, Index total) {
  if (progress && !progress(stage, done, total)) throw Cancelled();
}

}  // namespace nibble
