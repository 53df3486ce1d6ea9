// Token embeddings: rows of a matrix of any format, looked up by token id.
#pragma once

#include <cassert>
#include <span>
#include <utility>

#include <nibble/core/token_id.hpp>
#include <nibble/format/any_matrix.hpp>
#include <nibble/nn/execution.hpp>

namespace nibble {

/// A table of vectors. Tied to an output head, it shares the head's packed bytes.
class Embedding {
 public:
  /// `weight` is [vocabulary][size].
  explicit Embedding(AnyMatrix weight) : weight_(std::move(weight)) {}

  [[nodiscard]] Index vocabulary() const noexcept { return weight_.rows(); }
  [[nodiscard]] Index size() const noexcept { return weight_.cols(); }
  [[nodiscard]] const AnyMatrix& weight() const noexcept { return weight_; }

  /// Writes a token's vector, [size()]. The id is within the vocabulary.
  void lookup(TokenId id, float* output) const noexcept {
    assert(id >= 0 && id < vocabulary());
    weight_.dequantize_row(id, {output, static_cast<std::size_t>(size())});
  }

 private:
  AnyMatrix weight_;
};

}  // namespace nibble
