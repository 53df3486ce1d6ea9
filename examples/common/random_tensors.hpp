// Random weights of any format and size, made as fast as memory is filled.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/random.hpp>
#include <nibble/model/tensor_provider.hpp>
#include <nibble/quantize/round_to_nearest.hpp>

namespace nibble::example {

/// A matrix of uniformly distributed weights of variance 1 / cols, so that its outputs are about as
/// large as its inputs, quantized by round-to-nearest.
[[nodiscard]] inline AnyMatrix random_matrix(const AnyFormat& format, Index rows, Index cols,
                                             std::uint64_t seed, ExecutorRef pool) {
  Matrix weights(rows, cols);
  Random random(seed);
  const double largest = std::sqrt(3.0 / static_cast<double>(cols));
  for (Index i = 0; i < weights.size(); ++i) {
    weights.data()[i] = static_cast<float>((2 * random.uniform() - 1) * largest);
  }
  return round_to_nearest(weight_source("random", weights), format, pool);
}

/// A matrix whose panels are those of another one of the same format and number of columns, in
/// random order and each as often as it takes.
[[nodiscard]] inline AnyMatrix shuffled_panels(const AnyMatrix& panels, Index rows,
                                               std::uint64_t seed, ExecutorRef pool) {
  return panels.visit([&]<class F>(const QuantizedMatrix<F>& source) -> AnyMatrix {
    const std::size_t bytes = packed_bytes(source.format(), rows, source.cols());
    const auto buffer = std::make_shared<AlignedBuffer>(bytes);
    const std::size_t panel_bytes = source.view().layout.panel_bytes;
    const auto choices = static_cast<std::uint64_t>(source.view().panels());
    pool.run(divide_up(rows, panel_rows), [&](Index panel, int) {
      const std::uint64_t choice = Random(seed + static_cast<std::uint64_t>(panel)).next();
      std::memcpy(buffer->data() + static_cast<std::size_t>(panel) * panel_bytes,
                  source.view().panel(static_cast<Index>(choice % choices)), panel_bytes);
    });
    return QuantizedMatrix<F>(source.format(), rows, source.cols(), {buffer->data(), bytes},
                              buffer);
  });
}

/// Random weights in every tensor of a model; norms are 1, biases 0. Activations keep the size that
/// they have in trained models, so nothing overflows however many layers there are.
class RandomTensors : public TensorProvider {
 public:
  RandomTensors(AnyFormat linears, AnyFormat head, AnyFormat embedding)
      : linears_(std::move(linears)), head_(std::move(head)), embedding_(std::move(embedding)) {}

  [[nodiscard]] AnyFormat format(const TensorSpec& spec) const override {
    if (spec.role == TensorRole::Head) return head_;
    return spec.role == TensorRole::Embedding ? embedding_ : linears_;
  }

  [[nodiscard]] AnyMatrix matrix(const TensorSpec& spec, ExecutorRef pool) const override {
    const AnyMatrix panels = some_panels(format(spec), spec.cols, pool);
    return shuffled_panels(panels, spec.rows, std::hash<std::string>{}(spec.name), pool);
  }

  [[nodiscard]] std::vector<float> vector(const TensorSpec& spec) const override {
    const bool is_bias = std::string_view(spec.name).ends_with(".bias");
    return std::vector<float>(static_cast<std::size_t>(spec.cols), is_bias ? 0.0F : 1.0F);
  }

 private:
  /// 512 rows, from which all matrices of so many columns are made.
  [[nodiscard]] AnyMatrix some_panels(const AnyFormat& format, Index cols, ExecutorRef pool) const {
    const auto same = [&](const AnyMatrix& matrix) {
      return matrix.cols() == cols && matrix.format() == format;
    };
    const auto place = std::ranges::find_if(panels_, same);
    if (place != panels_.end()) return *place;
    return panels_.emplace_back(random_matrix(format, 512, cols, panels_.size(), pool));
  }

  AnyFormat linears_, head_, embedding_;
  mutable std::vector<AnyMatrix> panels_;  // made when they are first needed
};

}  // namespace nibble::example
