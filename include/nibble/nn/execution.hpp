// How layers run: with which kernels, on which threads, at which activation precision.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string_view>

#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/executor.hpp>
#include <nibble/kernels/kernel_table.hpp>

namespace nibble {

/// In what precision matmuls take their inputs.
enum class ActivationMode {
  Native,  // what suits each format best, KernelTable::native_activations
  Float,   // float32 everywhere, for comparisons with other implementations
};
inline constexpr std::array<std::string_view, 2> activation_mode_names{"native", "float"};

[[nodiscard]] constexpr std::string_view activation_mode_name(ActivationMode mode) noexcept {
  return activation_mode_names[static_cast<std::size_t>(mode)];
}

/// Throws Error for another name than those of activation_mode_names.
[[nodiscard]] inline ActivationMode parse_activation_mode(std::string_view name) {
  for (std::size_t i = 0; i < activation_mode_names.size(); ++i) {
    if (name == activation_mode_names[i]) return static_cast<ActivationMode>(i);
  }
  fail("unknown activations '", name, "'; expected native or float");
}

/// Tokens that are worth a thread's while where each of them is one short pass over a vector.
inline constexpr Index short_token_run = 16;

/// What every layer's forward takes; borrowed from the caller.
struct Execution {
  const KernelTable& kernels;
  ExecutorRef pool;  // a ThreadPool, or threads of the caller's own
  ActivationMode activations = ActivationMode::Native;

  /// The kind of inputs that a format, by its position in Formats, gets.
  [[nodiscard]] Activations kind_for(std::size_t format_index) const noexcept {
    return activations == ActivationMode::Float ? Activations::Float
                                                : kernels.native_activations[format_index];
  }

  /// Calls body(token) for [0, tokens). A task is a run of neighbours, whose results often share
  /// cache lines: of at least `least` tokens, as many as are worth a thread's while, and more where
  /// there are enough of them.
  template <class Body>
  void for_each_token(Index tokens, Index least, Body&& body) const {
    constexpr Index most = 32;
    const Index run = std::clamp(divide_up(tokens, 4 * Index{pool.size()}), least, most);
    pool.run(divide_up(tokens, run), [&](Index task, int) {
      const Index end = std::min(tokens, (task + 1) * run);
      for (Index token = task * run; token < end; ++token) body(token);
    });
  }
};

}  // namespace nibble
