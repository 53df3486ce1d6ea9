// The decoder once more, in plain float64 loops over plain vectors: what the real one must agree
// with. No cache, no chunks, no kernels; only the weights come through nibble.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <map>
#include <numbers>
#include <span>
#include <string>
#include <vector>

#include <nibble/model/tensor_provider.hpp>

namespace nibble::test {

class ReferenceDecoder {
 public:
  using Vector = std::vector<double>;
  using Rows = std::vector<Vector>;  // [tokens or outputs][size]

  ReferenceDecoder(const ModelConfig& config, const TensorProvider& tensors, ExecutorRef pool)
      : config_(config) {
    for (const TensorSpec& spec : tensor_specs(config)) {
      Rows rows;
      if (spec.role == TensorRole::Vector) {
        const std::vector<float> values = tensors.vector(spec);
        rows.emplace_back(values.begin(), values.end());
      } else {
        const Matrix weights = tensors.matrix(spec, pool).dequantize();
        for (Index row = 0; row < weights.rows(); ++row) {
          rows.emplace_back(weights.row(row).begin(), weights.row(row).end());
        }
      }
      weights_[spec.name] = std::move(rows);
    }
  }

  /// The last layer's output after the final norm, of every token of a sequence.
  [[nodiscard]] Rows hidden_states(std::span<const TokenId> tokens) const {
    Rows hidden;
    for (const TokenId id : tokens) {
      hidden.push_back(weights_.at("model.embed_tokens.weight")[static_cast<std::size_t>(id)]);
    }
    for (Index layer = 0; layer < config_.layers; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".";
      add(hidden,
          attention(layer, prefix + "self_attn.", norm(hidden, prefix + "input_layernorm.weight")));
      add(hidden,
          feed_forward(prefix + "mlp.", norm(hidden, prefix + "post_attention_layernorm.weight")));
    }
    return norm(hidden, "model.norm.weight");
  }

  /// The logits of every token of a sequence.
  [[nodiscard]] Rows logits(std::span<const TokenId> tokens) const {
    const Rows& head =
        weights_.at(config_.tied_head ? "model.embed_tokens.weight" : "lm_head.weight");
    Rows result;
    for (const Vector& row : hidden_states(tokens)) result.push_back(multiply(head, row));
    return result;
  }

 private:
  static Vector multiply(const Rows& weight, const Vector& input) {
    Vector output(weight.size(), 0);
    for (std::size_t row = 0; row < weight.size(); ++row) {
      for (std::size_t col = 0; col < input.size(); ++col) {
        output[row] += weight[row][col] * input[col];
      }
    }
    return output;
  }

  static void add(Rows& sum, const Rows& update) {
    for (std::size_t token = 0; token < sum.size(); ++token) {
      for (std::size_t i = 0; i < sum[token].size(); ++i) sum[token][i] += update[token][i];
    }
  }

  [[nodiscard]] Rows linear(const std::string& name, const Rows& inputs) const {
    Rows outputs;
    const auto bias = weights_.find(name + ".bias");
    for (const Vector& input : inputs) {
      outputs.push_back(multiply(weights_.at(name + ".weight"), input));
      if (bias == weights_.end()) continue;
      for (std::size_t i = 0; i < outputs.back().size(); ++i) {
        outputs.back()[i] += bias->second[0][i];
      }
    }
    return outputs;
  }

  void normalize(double* vector, const Vector& weight) const {
    double squares = 0;
    for (std::size_t i = 0; i < weight.size(); ++i) squares += vector[i] * vector[i];
    const double mean = squares / static_cast<double>(weight.size());
    const double divisor = std::sqrt(mean + static_cast<double>(config_.rms_norm_eps));
    for (std::size_t i = 0; i < weight.size(); ++i) vector[i] = vector[i] / divisor * weight[i];
  }

  [[nodiscard]] Rows norm(Rows rows, const std::string& name) const {
    for (Vector& row : rows) normalize(row.data(), weights_.at(name)[0]);
    return rows;
  }

  /// The angle by which pair i of a head turns from one position to the next.
  [[nodiscard]] double frequency(std::size_t pair) const {
    const RopeConfig& rope = config_.rope;
    const double plain = 1 / std::pow(rope.theta, 2.0 * static_cast<double>(pair) /
                                                      static_cast<double>(config_.head_dim));
    if (rope.kind == RopeKind::unscaled) return plain;
    if (rope.kind == RopeKind::linear) return plain / rope.factor;
    // Llama 3.1: the share of the unscaled frequency goes from 0 to 1 as the number of turns
    // within the original context goes from low_freq_factor to high_freq_factor.
    const double turns =
        static_cast<double>(rope.original_max_positions) * plain / (2 * std::numbers::pi);
    const double share = std::clamp(
        (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
    return share * plain + (1 - share) * plain / rope.factor;
  }

  /// Normalizes the heads of a row where the model does, and turns them.
  void place(Vector& row, std::size_t position, const std::string& norm_name) const {
    const auto dim = static_cast<std::size_t>(config_.head_dim);
    for (std::size_t first = 0; first < row.size(); first += dim) {
      double* head = row.data() + first;
      if (config_.qk_norm) normalize(head, weights_.at(norm_name)[0]);
      for (std::size_t i = 0; i < dim / 2; ++i) {
        const double angle = static_cast<double>(position) * frequency(i);
        const double low = head[i], high = head[i + dim / 2];
        head[i] = low * std::cos(angle) - high * std::sin(angle);
        head[i + dim / 2] = high * std::cos(angle) + low * std::sin(angle);
      }
    }
  }

  [[nodiscard]] Rows attention(Index layer, const std::string& prefix, const Rows& inputs) const {
    Rows queries = linear(prefix + "q_proj", inputs);
    Rows keys = linear(prefix + "k_proj", inputs);
    const Rows values = linear(prefix + "v_proj", inputs);
    for (std::size_t token = 0; token < inputs.size(); ++token) {
      place(queries[token], token, prefix + "q_norm.weight");
      place(keys[token], token, prefix + "k_norm.weight");
    }
    const auto dim = static_cast<std::size_t>(config_.head_dim);
    const auto window =
        static_cast<std::size_t>(config_.sliding_windows[static_cast<std::size_t>(layer)]);
    const auto sharing = static_cast<std::size_t>(config_.heads / config_.kv_heads);
    Rows outputs;
    for (std::size_t token = 0; token < inputs.size(); ++token) {
      Vector output(queries[token].size(), 0);
      for (std::size_t head = 0; head < static_cast<std::size_t>(config_.heads); ++head) {
        const std::size_t query_start = head * dim, key_start = head / sharing * dim;
        Vector weights(token + 1, 0);
        double total = 0;
        for (std::size_t other = 0; other <= token; ++other) {
          if (window != 0 && token - other >= window) continue;
          double product = 0;
          for (std::size_t d = 0; d < dim; ++d) {
            product += queries[token][query_start + d] * keys[other][key_start + d];
          }
          weights[other] = std::exp(product / std::sqrt(static_cast<double>(dim)));
          total += weights[other];
        }
        for (std::size_t other = 0; other <= token; ++other) {
          for (std::size_t d = 0; d < dim; ++d) {
            output[query_start + d] += weights[other] / total * values[other][key_start + d];
          }
        }
      }
      outputs.push_back(std::move(output));
    }
    return linear(prefix + "o_proj", outputs);
  }

  [[nodiscard]] Rows feed_forward(const std::string& prefix, const Rows& inputs) const {
    Rows gate = linear(prefix + "gate_proj", inputs);
    const Rows up = linear(prefix + "up_proj", inputs);
    for (std::size_t token = 0; token < gate.size(); ++token) {
      for (std::size_t i = 0; i < gate[token].size(); ++i) {
        double& value = gate[token][i];
        value = value / (1 + std::exp(-value)) * up[token][i];
      }
    }
    return linear(prefix + "down_proj", gate);
  }

  ModelConfig config_;
  std::map<std::string, Rows> weights_;
};

/// The largest difference between logits and the reference's, over the root mean square of the
/// reference's.
[[nodiscard]] inline double relative_distance(const Matrix& logits,
                                              const ReferenceDecoder::Rows& reference) {
  double largest = 0;
  double squares = 0;
  for (std::size_t row = 0; row < reference.size(); ++row) {
    for (std::size_t col = 0; col < reference[row].size(); ++col) {
      const double exact = reference[row][col];
      const double found = logits(static_cast<Index>(row), static_cast<Index>(col));
      if (!std::isfinite(found)) return std::numeric_limits<double>::infinity();
      largest = std::max(largest, std::abs(found - exact));
      squares += exact * exact;
    }
  }
  const auto count = static_cast<double>(logits.size());
  return largest / std::sqrt(squares / count);
}

}  // namespace nibble::test
