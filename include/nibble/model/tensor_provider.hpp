// Where a model's tensors come from.
#pragma once

#include <vector>

#include <nibble/core/executor.hpp>
#include <nibble/format/any_matrix.hpp>
#include <nibble/model/tensor_specs.hpp>

namespace nibble {

/// Delivers tensors by their specification, each in the format it is kept in.
class TensorProvider {
 public:
  virtual ~TensorProvider() = default;

  /// The format in which `matrix` delivers a tensor. Throws as `matrix`.
  [[nodiscard]] virtual AnyFormat format(const TensorSpec& spec) const = 0;

  /// A matrix (any role but Vector). Throws Error, naming the tensor, where it is missing or has
  /// another shape or type, or a weight is not finite. (A packed matrix is mapped unread: what is
  /// not finite there shows in the logits.)
  [[nodiscard]] virtual AnyMatrix matrix(const TensorSpec& spec, ExecutorRef pool) const = 0;

  /// A vector, [spec.cols]. Throws as `matrix`.
  [[nodiscard]] virtual std::vector<float> vector(const TensorSpec& spec) const = 0;
};

}  // namespace nibble
