// What makes the inputs of some Linears, and takes up the scales that they are divided by.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <span>
#include <vector>

#include <Eigen/Core>

#include <nibble/model/tensor_provider.hpp>
#include <nibble/quantize/channel_scales.hpp>
#include <nibble/quantize/row_scaling.hpp>

namespace nibble {

/// A norm; or a Linear that was quantized before and whose outputs become inputs channel by
/// channel: v_proj, of which attention mixes tokens but no channels, and up_proj, whose outputs the
/// gate is multiplied with. A head of values that several query heads share makes the inputs of
/// each.
class InputMaker {
 public:
  /// `weight` is the norm's, or the Linear's with its `bias` or null. It makes `inputs` inputs, in
  /// heads of `head_dim` where they are more than its outputs. Borrows both.
  InputMaker(const TensorSpec& weight, const TensorSpec* bias, Index inputs, Index head_dim)
      : weight_(&weight), bias_(bias), inputs_(inputs), head_dim_(head_dim) {
    assert(inputs % outputs() == 0);
  }

  [[nodiscard]] bool is_linear() const noexcept { return weight_->role == TensorRole::Linear; }

  /// What the inputs may be divided by; the Linear as `tensors` have it. A Linear's outputs are
  /// divided by powers of two alone, so that nothing that is stored of it is rounded once more, and
  /// its quantized outputs are the same to the last bit but for the scales.
  [[nodiscard]] ScaleLimits limits(const TensorProvider& tensors, ExecutorRef pool) const {
    ScaleLimits limits{std::vector<ScaleLimits::Range>(static_cast<std::size_t>(inputs_)),
                       is_linear()};
    if (!is_linear()) return limits;
    const std::vector<ScaleLimits::Range> of_rows = row_divisors(tensors.matrix(*weight_, pool));
    for (Index input = 0; input < inputs_; ++input) {
      limits.ranges[static_cast<std::size_t>(input)] = of_rows[output_of(input)];
    }
    return limits;
  }

  /// Each input's magnitude, as the mean over those that the same output makes: these can only be
  /// scaled together.
  [[nodiscard]] Eigen::VectorXd shared(const Eigen::VectorXd& magnitudes) const {
    Eigen::VectorXd means = Eigen::VectorXd::Zero(outputs());
    const double share = static_cast<double>(outputs()) / static_cast<double>(inputs_);
    for (Index input = 0; input < inputs_; ++input) {
      means[static_cast<Index>(output_of(input))] += share * magnitudes[input];
    }
    Eigen::VectorXd result(inputs_);
    for (Index input = 0; input < inputs_; ++input) {
      result[input] = means[static_cast<Index>(output_of(input))];
    }
    return result;
  }

  /// Calls replace(name, tensor) with what divides the inputs by `scales`, [inputs]: the norm's
  /// weight, or the Linear's matrix and bias.
  template <class Replace>
  void divide(const TensorProvider& tensors, std::span<const float> scales, ExecutorRef pool,
              Replace&& replace) const {
    std::vector<float> divisors(static_cast<std::size_t>(outputs()));
    for (Index input = 0; input < inputs_; ++input) {
      divisors[output_of(input)] = scales[static_cast<std::size_t>(input)];
    }
    const auto divided = [&](const TensorSpec& spec) {
      std::vector<float> vector = tensors.vector(spec);
      for (std::size_t i = 0; i < vector.size(); ++i) vector[i] /= divisors[i];
      return vector;
    };
    if (is_linear()) {
      replace(weight_->name, divide_rows(tensors.matrix(*weight_, pool), divisors, pool));
      if (bias_ != nullptr) replace(bias_->name, divided(*bias_));
    } else {
      replace(weight_->name, divided(*weight_));
    }
  }

 private:
  [[nodiscard]] Index outputs() const noexcept {
    return is_linear() ? weight_->rows : weight_->cols;
  }
  /// The output that an input is made of.
  [[nodiscard]] std::size_t output_of(Index input) const noexcept {
    const Index sharing = inputs_ / outputs();
    if (sharing == 1) return static_cast<std::size_t>(input);
    const Index head = input / head_dim_ / sharing;
    return static_cast<std::size_t>(head * head_dim_ + input % head_dim_);
  }

  const TensorSpec* weight_;
  const TensorSpec* bias_;
  Index inputs_;
  Index head_dim_;
};

}  // namespace nibble
