// What each Linear of a model would lose in each of several formats.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <Eigen/Core>

#include <nibble/core/progress.hpp>
#include <nibble/model/calibration_stream.hpp>
#include <nibble/model/evaluate.hpp>
#include <nibble/model/float_tensors.hpp>
#include <nibble/model/tensor_overlay.hpp>
#include <nibble/nn/linear.hpp>
#include <nibble/quantize/gram.hpp>
#include <nibble/quantize/round_to_nearest.hpp>

namespace nibble {

/// Sums of products of inputs, [cols][cols], as a Linear, so that the kernels multiply with them.
[[nodiscard]] inline Linear hessian_linear(const Eigen::MatrixXd& hessian, ExecutorRef pool) {
  const Matrix weights = hessian.cast<float>();
  return Linear(round_to_nearest(weight_source("hessian", weights), Float32Format{}, pool));
}

/// Squared changes of a Linear's outputs, (Q - W) H (Q - W)^T summed over outputs, where `rounded`
/// is Q, W are the weights of `source` and H, a `hessian_linear`, is of its inputs.
[[nodiscard]] inline double output_error(const WeightSource& source, const AnyMatrix& rounded,
                                         const Linear& hessian, const KernelTable& kernels,
                                         ExecutorRef pool) {
  constexpr Index tile = 512;
  const Index most = std::min(tile, source.rows);
  Matrix difference(most, source.cols);
  Matrix product(most, source.cols);
  std::vector<double> errors(static_cast<std::size_t>(source.rows));
  LinearInput input;
  for (Index first = 0; first < source.rows; first += tile) {
    const Index count = std::min(tile, source.rows - first);
    pool.run(count, [&](Index i, int) {
      std::vector<float> row(static_cast<std::size_t>(source.cols));
      rounded.dequantize_row(first + i, row);
      source.read(first + i, 1, difference.row(i).data());
      difference.row(i) -=
          Eigen::Map<const Eigen::RowVectorXf>(row.data(), static_cast<Index>(row.size()));
    });
    input.assign(difference.data(), count, source.cols, source.cols);
    hessian.forward(input, {kernels, pool, ActivationMode::Float}, product.data(), source.cols);
    pool.run(count, [&](Index i, int) {
      errors[static_cast<std::size_t>(first + i)] =
          product.row(i).cast<double>().dot(difference.row(i).cast<double>());
    });
  }
  double sum = 0;
  for (const double error : errors) sum += error;
  return sum;
}

/// By tensor, for each format the output_error of rounding it to nearest, on the float model's
/// inputs from the text. Holds one layer and the activations of all windows.
[[nodiscard]] inline std::map<std::string, std::vector<double>> output_errors(
    const ModelConfig& config, const FloatTensors& tensors, const std::vector<AnyFormat>& formats,
    const CalibrationText& text, ExecutorRef pool, const Progress& progress,
    const KernelTable& kernels) {
  std::map<std::string, TensorSpec> specs;
  for (TensorSpec& spec : tensor_specs(config)) specs.emplace(spec.name, spec);
  const TensorSpec& embedding = specs.find(std::string(embedding_name))->second;
  CalibrationStream stream(config, Embedding(tensors.matrix(embedding, pool)), text, pool, kernels);
  std::map<std::string, std::vector<double>> errors;
  std::optional<Linear> before;
  const Index steps = config.layers * 4 * text.windows();
  Index done = 0;
  for (Index index = 0; index < config.layers; ++index) {
    const DecoderLayer layer = LayerLoader(config, tensors, pool, {}).layer(index);
    for_each_input_group(config, [&](const InputGroup& group, auto&& step) {
      Gram gram(GramKind::Symmetric, group.inputs, kernels);
      for (Index window = 0; window < text.windows(); ++window) {
        report(progress, "output errors", done++, steps);
        gram.add(step(stream, layer, before ? &*before : nullptr, window), text.window, pool);
      }
      const Eigen::MatrixXd sums = std::move(gram).finish();
      if (!sums.diagonal().allFinite()) {
        fail("tensor '", layer_tensor_name(index, concat(group.parts.front(), ".weight")),
             "': its inputs are infinite or not numbers in the calibration");
      }
      const Linear hessian = hessian_linear(sums, pool);
      for (const std::string_view part : group.parts) {
        const TensorSpec& spec =
            specs.find(layer_tensor_name(index, concat(part, ".weight")))->second;
        const WeightSource source = tensors.source(spec);
        for (const AnyFormat& format : formats) {
          report(progress, "output errors", done, steps);
          errors[spec.name].push_back(
              output_error(source, round_to_nearest(source, format, pool), hessian, kernels, pool));
        }
      }
    });
    before.emplace(layer.feed_forward.down_proj());
  }
  return errors;
}

/// KL divergences from the float model on some tokens: what one rounded tensor alone does.
class TensorProbe {
 public:
  /// Runs the float model. Borrows everything; holds all weights as floats, and logits of all
  /// tokens, which are one sequence.
  TensorProbe(const ModelConfig& config, const FloatTensors& tensors,
              std::span<const TokenId> tokens, ExecutorRef pool, const KernelTable& kernels)
      : config_(config),
        tensors_(tensors),
        floats_(&tensors),
        tokens_(tokens),
        pool_(pool),
        kernels_(kernels),
        expected_(logits(floats_)) {}

  /// The mean over the tokens with this tensor rounded to nearest, nats. Throws Error where it is
  /// not finite.
  [[nodiscard]] double kl_divergence(const TensorSpec& spec, const AnyFormat& format) {
    TensorOverlay rounded(&floats_);
    rounded.replace(spec.name, round_to_nearest(tensors_.source(spec), format, pool_));
    const Matrix found = logits(rounded);
    std::vector<double> divergences(tokens_.size());
    pool_.run(found.rows(), [&](Index token, int) {
      const auto row = [&](const Matrix& matrix) {
        return std::span<const float>(matrix.row(token).data(),
                                      static_cast<std::size_t>(matrix.cols()));
      };
      divergences[static_cast<std::size_t>(token)] =
          evaluate_detail::distance(row(expected_), row(found),
                                    evaluate_detail::log_sum_exp(row(found)))
              .kl_divergence;
    });
    double sum = 0;
    for (const double divergence : divergences) sum += divergence;
    if (!std::isfinite(sum)) fail("tensor '", spec.name, "': rounded, it makes infinite logits");
    return std::max(sum, 0.0) / static_cast<double>(tokens_.size());
  }

 private:
  [[nodiscard]] Matrix logits(const TensorProvider& tensors) const {
    const Decoder decoder(config_, tensors, pool_, {}, kernels_);
    const auto count = static_cast<Index>(tokens_.size());
    evaluate_detail::Runner runner({&decoder, ActivationMode::Float, KvType::Float32}, count,
                                   pool_);
    Matrix all(count, config_.vocab_size);
    constexpr Index chunk = 256;  // tokens whose logits are held twice
    for (Index first = 0; first < count; first += chunk) {
      const Index size = std::min(chunk, count - first);
      all.middleRows(first, size) = runner.advance(
          tokens_.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(size)));
    }
    return all;
  }

  const ModelConfig& config_;
  const FloatTensors& tensors_;
  TensorOverlay floats_;
  std::span<const TokenId> tokens_;
  ExecutorRef pool_;
  const KernelTable& kernels_;
  Matrix expected_;  // [tokens][vocabulary]
};

}  // namespace nibble
