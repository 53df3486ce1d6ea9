// What each Linear of a model would lose in each of several formats.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
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
[[nodiscard]] inline double total_output_error(const WeightSource& source, const AnyMatrix& rounded,
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

/// By tensor of `linears`, which are some of the model's, for each format the total_output_error of
/// rounding it to nearest, on the float model's inputs from the text: infinite where the format
/// cannot hold the weights. Holds one layer and the activations of all windows. Throws Error,
/// naming the tensor, for inputs that are not finite or weights that no format can hold; or
/// Cancelled.
[[nodiscard]] inline std::map<std::string, std::vector<double>> format_errors(
    const ModelConfig& config, const FloatTensors& tensors, const std::vector<TensorSpec>& linears,
    const std::vector<AnyFormat>& formats, const CalibrationText& text, ExecutorRef pool,
    const Progress& progress, const KernelTable& kernels) {
  const std::vector<TensorSpec> specs = tensor_specs(config);
  const TensorSpec& embedding = *std::ranges::find(specs, embedding_name, &TensorSpec::name);
  std::map<std::string, const TensorSpec*> wanted;
  for (const TensorSpec& linear : linears) wanted.emplace(linear.name, &linear);
  CalibrationStream stream(config, Embedding(tensors.matrix(embedding, pool)), text, pool, kernels);
  std::map<std::string, std::vector<double>> errors;
  std::optional<Linear> before;
  const Index steps = config.layers * 4 * text.windows();
  Index done = 0;
  const auto measure = [&](const TensorSpec& spec, const Linear& hessian) {
    const WeightSource source = tensors.source(spec);
    std::vector<double>& found = errors[spec.name];
    for (const AnyFormat& format : formats) {
      report(progress, "output errors", done, steps);
      std::optional<AnyMatrix> rounded;
      try {
        rounded = round_to_nearest(source, format, pool);
      } catch (const Error&) {
        const bool any = std::ranges::any_of(found, [](double e) { return std::isfinite(e); });
        if (!any && &format == &formats.back()) throw;
      }
      found.push_back(rounded ? total_output_error(source, *rounded, hessian, kernels, pool)
                              : std::numeric_limits<double>::infinity());
    }
  };
  for (Index index = 0; index < config.layers; ++index) {
    const DecoderLayer layer = LayerLoader(config, tensors, pool, {}).layer(index);
    for_each_input_group(config, [&](const InputGroup& group, auto&& step) {
      std::vector<const TensorSpec*> chosen;
      for (const std::string_view part : group.parts) {
        const auto place = wanted.find(layer_tensor_name(index, concat(part, ".weight")));
        if (place != wanted.end()) chosen.push_back(place->second);
      }
      std::optional<Gram> gram;
      if (!chosen.empty()) gram.emplace(GramKind::Symmetric, group.inputs, kernels);
      for (Index window = 0; window < text.windows(); ++window) {
        report(progress, "output errors", done++, steps);
        const float* inputs = step(stream, layer, before ? &*before : nullptr, window);
        if (gram) gram->add(inputs, text.window, pool);
      }
      if (!gram) return;
      const Eigen::MatrixXd sums = std::move(*gram).finish();
      if (!sums.diagonal().allFinite()) {
        fail("tensor '", chosen.front()->name,
             "': its inputs are infinite or not numbers in the calibration");
      }
      const Linear hessian = hessian_linear(sums, pool);
      for (const TensorSpec* spec : chosen) measure(*spec, hessian);
    });
    before.emplace(layer.feed_forward.down_proj());
  }
  return errors;
}

/// Up to `tokens` tokens of a text: the beginnings of windows spread over it, four of them or as
/// many as it takes, each a sequence.
[[nodiscard]] inline std::vector<std::span<const TokenId>> probe_sequences(
    const CalibrationText& text, Index tokens) {
  const Index windows = text.windows();
  const Index wanted = std::clamp(tokens, Index{1}, windows * text.window);
  const Index count =
      std::min({windows, wanted, std::max(Index{4}, divide_up(wanted, text.window))});
  const Index length = wanted / count;
  std::vector<std::span<const TokenId>> sequences;
  for (Index i = 0; i < count; ++i) {
    const auto first = static_cast<std::size_t>(i * windows / count * text.window);
    sequences.push_back(std::span(text.tokens).subspan(first, static_cast<std::size_t>(length)));
  }
  return sequences;
}

/// KL divergences from the float model on some sequences: what one rounded tensor alone does.
class TensorProbe {
 public:
  /// Tokens whose logits are held once more.
  static constexpr Index chunk = 256;

  /// Runs the float model. Borrows everything; holds all weights as floats, and twice the logits of
  /// all tokens.
  TensorProbe(const ModelConfig& config, const FloatTensors& tensors,
              std::vector<std::span<const TokenId>> sequences, ExecutorRef pool,
              const KernelTable& kernels)
      : config_(config),
        tensors_(tensors),
        floats_(&tensors),
        sequences_(std::move(sequences)),
        pool_(pool),
        kernels_(kernels),
        expected_(logits(floats_)) {}

  /// The mean over the tokens with this tensor rounded to nearest, nats. Throws Error where it is
  /// not finite.
  [[nodiscard]] double kl_divergence(const TensorSpec& spec, const AnyFormat& format) {
    TensorOverlay rounded(&floats_);
    rounded.replace(spec.name, round_to_nearest(tensors_.source(spec), format, pool_));
    const Matrix found = logits(rounded);
    std::vector<double> divergences(static_cast<std::size_t>(found.rows()));
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
    return std::max(sum, 0.0) / static_cast<double>(found.rows());
  }

 private:
  [[nodiscard]] Matrix logits(const TensorProvider& tensors) const {
    const Decoder decoder(config_, tensors, pool_, {}, kernels_);
    std::size_t count = 0;
    std::size_t longest = 0;
    for (const std::span<const TokenId> sequence : sequences_) {
      count += sequence.size();
      longest = std::max(longest, sequence.size());
    }
    evaluate_detail::Runner runner({&decoder, ActivationMode::Float, KvType::Float32},
                                   static_cast<Index>(longest), pool_);
    Matrix all(static_cast<Index>(count), config_.vocab_size);
    Index row = 0;
    for (std::span<const TokenId> rest : sequences_) {
      runner.restart();
      while (!rest.empty()) {
        const std::size_t size = std::min(static_cast<std::size_t>(chunk), rest.size());
        all.middleRows(row, static_cast<Index>(size)) = runner.advance(rest.first(size));
        row += static_cast<Index>(size);
        rest = rest.subspan(size);
      }
    }
    return all;
  }

  const ModelConfig& config_;
  const FloatTensors& tensors_;
  TensorOverlay floats_;
  std::vector<std::span<const TokenId>> sequences_;
  ExecutorRef pool_;
  const KernelTable& kernels_;
  Matrix expected_;  // [tokens][vocabulary]
};

}  // namespace nibble
