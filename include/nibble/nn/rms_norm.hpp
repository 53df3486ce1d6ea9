// Root-mean-square normalization with a learned weight.
#pragma once

#include <algorithm>
#include <utility>
#include <vector>

#include <nibble/nn/execution.hpp>

namespace nibble {

/// output = weight * input / sqrt(mean(input^2) + epsilon), over the last dimension.
/// Source: Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019).
class RmsNorm {
 public:
  RmsNorm(std::vector<float> weight, float epsilon)
      : weight_(std::move(weight)), epsilon_(epsilon) {}

  [[nodiscard]] Index size() const noexcept { return static_cast<Index>(weight_.size()); }
  [[nodiscard]] const std::vector<float>& weight() const noexcept { return weight_; }

  /// One vector, [size()]; output may be input.
  void forward(const float* input, const KernelTable& kernels, float* output) const noexcept {
    kernels.rms_norm(input, weight_.data(), epsilon_, size(), output);
  }

  /// [tokens][size()], rows side by side.
  void forward(const float* input, Index tokens, const Execution& execution, float* output) const {
    execution.pool.run(divide_up(tokens, token_run), [&](Index run, int) {
      const Index end = std::min(tokens, (run + 1) * token_run);
      for (Index token = run * token_run; token < end; ++token) {
        forward(input + token * size(), execution.kernels, output + token * size());
      }
    });
  }

 private:
  static constexpr Index token_run = 16;  // tokens that are worth a thread's while

  std::vector<float> weight_;
  float epsilon_;
};

}  // namespace nibble
