// Root-mean-square normalization with a learned weight.
#pragma once

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
    execution.for_each_token(tokens, short_token_run, [&](Index token) {
      forward(input + token * size(), execution.kernels, output + token * size());
    });
  }

  /// sum += addend, and then `forward` of the sum, in one pass.
  void add_and_forward(float* sum, const float* addend, Index tokens, const Execution& execution,
                       float* output) const {
    execution.for_each_token(tokens, short_token_run, [&](Index token) {
      const Index first = token * size();
      execution.kernels.add(sum + first, addend + first, size());
      forward(sum + first, execution.kernels, output + first);
    });
  }

 private:
  std::vector<float> weight_;
  float epsilon_;
};

}  // namespace nibble
