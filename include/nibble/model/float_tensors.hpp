// The float tensors of a Hugging Face folder, as a model's tensors.
#pragma once

#include <span>
#include <utility>
#include <variant>
#include <vector>

#include <nibble/format/pack_rows.hpp>
#include <nibble/format/weight_source.hpp>
#include <nibble/io/sharded_safetensors.hpp>
#include <nibble/model/tensor_provider.hpp>

namespace nibble {

/// The float tensors of a Hugging Face folder: F32, F16 or BF16, kept as they are.
class FloatTensors : public TensorProvider {
 public:
  explicit FloatTensors(ShardedSafetensors files) : files_(std::move(files)) {}

  /// The weights of a matrix as floats, read from the mapped file a few rows at a time.
  [[nodiscard]] WeightSource source(const TensorSpec& spec) const {
    return {spec.name, spec.rows, spec.cols,
            [tensor = find(spec), cols = spec.cols](Index first, Index count, float* out) {
              read_floats(tensor, first * cols,
                          std::span<float>(out, static_cast<std::size_t>(count * cols)));
            }};
  }

  /// The float format that holds the tensor exactly.
  [[nodiscard]] AnyFormat format(const TensorSpec& spec) const override {
    switch (find(spec).dtype()) {
      case DType::F32:
        return Float32Format{};
      case DType::F16:
        return Float16Format{};
      default:
        return BFloat16Format{};
    }
  }

  [[nodiscard]] AnyMatrix matrix(const TensorSpec& spec, ExecutorRef pool) const override {
    return std::visit(
        [&]<class F>(const F& format) -> AnyMatrix {
          if constexpr (FloatWeightFormat<F>) return pack_floats(source(spec), format, pool);
          fail("tensor '", spec.name, "' is not stored as floats");
        },
        format(spec));
  }

  [[nodiscard]] std::vector<float> vector(const TensorSpec& spec) const override {
    std::vector<float> values(static_cast<std::size_t>(spec.cols));
    const WeightSource numbers = source(spec);
    numbers.read(0, 1, values.data());
    require_finite(numbers, 0, values.data());
    return values;
  }

 private:
  [[nodiscard]] TensorView find(const TensorSpec& spec) const {
    TensorView tensor = files_.at(spec.name);
    if (tensor.dtype() != DType::F32 && tensor.dtype() != DType::F16 &&
        tensor.dtype() != DType::BF16) {
      fail(tensor.where(), ": expected F32, F16 or BF16, found ", dtype_name(tensor.dtype()));
    }
    const bool is_vector = spec.role == TensorRole::Vector;
    const std::vector<Index> shape =
        is_vector ? std::vector<Index>{spec.cols} : std::vector<Index>{spec.rows, spec.cols};
    expect_shape(tensor, shape);
    return tensor;
  }

  ShardedSafetensors files_;
};

}  // namespace nibble
