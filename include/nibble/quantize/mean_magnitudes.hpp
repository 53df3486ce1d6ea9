// How large each channel of some activations is on average: what AWQ takes its scales from.
#pragma once

#include <algorithm>

#include <Eigen/Core>

#include <nibble/core/executor.hpp>
#include <nibble/core/matrix.hpp>

namespace nibble {

/// Adds up |x| of each channel over tokens, in float64. Threads share out channels, never tokens,
/// so the result has the same bits for any number of threads.
class MeanMagnitudes {
 public:
  explicit MeanMagnitudes(Index cols) : sums_(Eigen::VectorXd::Zero(cols)) {}

  /// Adds x, [tokens][cols].
  void add(const float* x, Index tokens, ExecutorRef pool) {
    const Index cols = sums_.size();
    pool.run(divide_up(cols, run), [&](Index task, int) {
      const Index first = task * run;
      const Index count = std::min(run, cols - first);
      auto sums = sums_.segment(first, count);
      for (Index token = 0; token < tokens; ++token) {
        const Eigen::Map<const Eigen::VectorXf> values(x + token * cols + first, count);
        sums += values.cwiseAbs().cast<double>();
      }
    });
    tokens_ += tokens;
  }

  /// Mean |x| of each channel, [cols]; 0 before anything was added.
  [[nodiscard]] Eigen::VectorXd mean() const {
    return sums_ / static_cast<double>(std::max(tokens_, Index{1}));
  }

 private:
  static constexpr Index run = 64;  // channels that are worth a thread's while

  Eigen::VectorXd sums_;
  Index tokens_ = 0;
};

}  // namespace nibble
