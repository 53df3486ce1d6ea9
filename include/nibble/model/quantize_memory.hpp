// How much memory the quantization of a model will take, known before it starts.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <nibble/kernels/activations.hpp>
#include <nibble/model/bit_budget.hpp>
#include <nibble/model/calibration_stream.hpp>
#include <nibble/model/float_tensors.hpp>
#include <nibble/model/recipe.hpp>
#include <nibble/quantize/gram.hpp>
#include <nibble/quantize/row_tile.hpp>

namespace nibble {

/// Predicts peaks of anonymous memory: what is allocated. Mapped files do not count, as the system
/// takes their pages back at will.
class QuantizeMemory {
 public:
  /// `text` is what methods are calibrated on; it may be null where none of the recipe is. With a
  /// budget, the Linears that the recipe leaves open count in the largest of its candidates.
  /// Borrows configuration and text. Throws Error where a tensor is missing.
  QuantizeMemory(const ModelConfig& config, const FloatTensors& tensors, const Recipe& recipe,
                 const CalibrationText* text, int threads,
                 const std::optional<BitBudget>& budget = std::nullopt)
      : config_(config), text_(text), threads_(threads) {
    cross_ = calibration_needs(config, recipe).cross ||
             (budget && calibration_needs(budget->method).cross);
    const auto note_method = [&](const AnyQuantizer& method) {
      calibrated_ = calibrated_ || is_calibrated(method);
    };
    for (const TensorSpec& spec : tensor_specs(config)) {
      if (spec.role == TensorRole::Vector) continue;
      const auto bytes_in = [&](const AnyFormat& format) -> std::uint64_t {
        return packed_bytes(format, spec.rows, spec.cols);
      };
      const std::uint64_t exact = bytes_in(tensors.format(spec));
      std::uint64_t quantized = exact;
      if (budget && spec.role == TensorRole::Linear && !recipe.names(spec.name)) {
        quantized = 0;
        for (const AnyFormat& each : budget->candidates) {
          quantized = std::max(quantized, bytes_in(each));
        }
        note_method(budget->method);
      } else if (const RecipeRule* rule = recipe.find(spec.name)) {
        quantized = bytes_in(rule->format);
        note_method(rule->method);
      }
      sizes_[spec.name] = {exact, quantized};
    }
    if (budget) choosing_ = choosing(budget->samples, budget->probe_tokens);
  }

  /// Of `quantize_folder`, in bytes, with the activations of all windows in memory or, `on_disk`,
  /// in scratch files.
  [[nodiscard]] std::uint64_t peak(bool on_disk) const {
    std::uint64_t peak = choosing_;
    for (const auto& [name, size] : sizes_) {
      peak = std::max(peak, size.quantized);  // writing: one tensor at a time
    }
    if (calibrated_) peak = std::max(peak, calibration(on_disk));
    return peak + text_bytes() + fixed_bytes;
  }

  /// Of `evaluate`, with what was written and the float model as its reference, in float32.
  [[nodiscard]] std::uint64_t evaluation(Index window) const {
    return float_weights() + text_bytes() + fixed_bytes + 2 * running(window);
  }

 private:
  struct Sizes {
    std::uint64_t exact;      // packed, as floats
    std::uint64_t quantized;  // packed, as the recipe has it
  };

  /// Code, tokenizer, file headers and everything else that is small.
  static constexpr std::uint64_t fixed_bytes = std::uint64_t{24} << 20;
  /// Float64 numbers that a thread holds for each weight of the rows that it quantizes at a time.
  static constexpr std::uint64_t tile_numbers = 8;

  [[nodiscard]] static std::uint64_t bytes(Index count, std::size_t size) noexcept {
    return static_cast<std::uint64_t>(count) * size;
  }

  [[nodiscard]] std::uint64_t float_weights() const noexcept {
    std::uint64_t weights = 0;
    for (const auto& [name, size] : sizes_) weights += size.exact;
    return weights;
  }

  [[nodiscard]] std::uint64_t text_bytes() const noexcept {
    return text_ == nullptr ? 0 : text_->tokens.capacity() * sizeof(TokenId);
  }

  /// Of a model that runs sequences of `window` tokens, some of them at a time, beside its weights:
  /// keys and values, scratch and logits.
  [[nodiscard]] std::uint64_t running(Index window) const {
    const Index pages = 2 * config_.layers * config_.kv_heads * config_.head_dim;
    const Index each = config_.vocab_size + 8 * config_.hidden_size + 4 * config_.intermediate_size;
    return bytes(
        round_up(window, page_positions) * pages + std::min(window, TensorProbe::chunk) * each,
        sizeof(float));
  }

  /// Of `choose_formats`, with so many windows of the text for output errors and so many tokens
  /// for KL divergences, at most.
  [[nodiscard]] std::uint64_t choosing(Index samples, Index probe_tokens) const {
    const Index windows = std::min(samples, text_->windows());
    std::uint64_t peak = 0;
    for (Index layer = 0; layer < config_.layers; ++layer) {
      peak = std::max(peak, stream(windows, false) + layer_peak(layer, false));
    }
    peak += bytes(windows * text_->window, sizeof(TokenId));
    const Index tokens = std::min(probe_tokens, text_->windows() * text_->window);
    std::uint64_t rounded = 0;
    for (const auto& [name, size] : sizes_) rounded = std::max(rounded, size.quantized);
    const std::uint64_t probing = float_weights() + rounded +
                                  running(std::min(tokens, text_->window)) +
                                  bytes(2 * tokens * config_.vocab_size, sizeof(float));
    return std::max(peak, probing);
  }

  [[nodiscard]] std::uint64_t calibration(bool on_disk) const {
    const std::uint64_t streams = (cross_ ? 2U : 1U) * stream(text_->windows(), on_disk);
    const Sizes& embedding = sizes_.find(embedding_name)->second;
    std::uint64_t peak = streams + embedding.exact + embedding.quantized;
    for (Index layer = 0; layer < config_.layers; ++layer) {
      peak = std::max(peak, streams + layer_peak(layer, cross_));
    }
    return peak;
  }

  /// Of one variant of the model (CalibrationStream).
  [[nodiscard]] std::uint64_t stream(Index windows, bool on_disk) const {
    const Index window = text_->window;
    const Index hidden = config_.hidden_size;
    const Index queries = config_.heads * config_.head_dim;
    const Index keys = config_.kv_heads * config_.head_dim;
    const Index widest = CalibrationStream::widest(config_);
    // Residual stream and inputs; the same of a window, packed, and updates and norms of both;
    // queries, keys, values, their pages, and angles; up_proj's outputs.
    const Index each = 3 * hidden + round_up(std::max(widest, hidden), activation_padding) +
                       queries + 4 * keys + config_.head_dim + config_.intermediate_size;
    return WindowStore::memory(windows, window * hidden, on_disk) +
           WindowStore::memory(windows, window * widest, on_disk) +
           bytes(window * each, sizeof(float));
  }

  /// The largest sum while a layer is quantized: of its weights, floats first, more and more of
  /// them quantized; the layer before's down_proj; and what each group of Linears takes.
  [[nodiscard]] std::uint64_t layer_peak(Index layer, bool cross) const {
    const auto size = [&](std::string_view part) {
      return sizes_.find(layer_tensor_name(layer, concat(part, ".weight")))->second;
    };
    const Sizes down = size("mlp.down_proj");
    std::uint64_t weights = down.quantized + (cross ? down.exact : 0);
    for_each_input_group(config_, [&](const InputGroup& group, auto&&) {
      for (const std::string_view part : group.parts) weights += size(part).exact;
    });
    std::uint64_t peak = 0;
    for_each_input_group(config_, [&](const InputGroup& group, auto&&) {
      for (const std::string_view part : group.parts) weights += size(part).quantized;
      peak = std::max(peak, weights + statistics(group.inputs, cross));
      if (cross) return;  // the float model still needs the floats
      for (const std::string_view part : group.parts) weights -= size(part).exact;
    });
    return peak;
  }

  /// The sums of products, while they are added up (Gram) or while a matrix is quantized.
  [[nodiscard]] std::uint64_t statistics(Index inputs, bool cross) const {
    const std::uint64_t square = bytes(inputs * inputs, sizeof(double));
    const Index tokens = std::min(text_->window, Gram::block_tokens);
    const std::uint64_t blocks =
        bytes(2 * tokens * round_up(inputs, activation_padding), sizeof(float)) +
        bytes(threads_ * inputs * panel_rows, sizeof(float));
    const std::uint64_t half = square / 2;
    const std::uint64_t adding = cross ? half + square + 2 * blocks : half + blocks;
    const std::uint64_t finishing = cross ? 3 * square : half + square;
    const std::uint64_t tiles = tile_numbers * bytes(threads_ * tile_rows * inputs, sizeof(double));
    // The sums, the Hessian's factor, and the inputs' drift where they are compared.
    const std::uint64_t quantizing = (cross ? 4 : 2) * square + tiles;
    return std::max({adding, finishing, quantizing});
  }

  const ModelConfig& config_;
  const CalibrationText* text_;
  int threads_;
  std::map<std::string, Sizes, std::less<>> sizes_;
  bool calibrated_ = false;
  bool cross_ = false;
  std::uint64_t choosing_ = 0;
};

/// How much memory `quantize_folder` will take, and where activations will be.
struct MemoryPlan {
  std::uint64_t peak = 0;  // bytes of anonymous memory
  bool activations_on_disk = false;
};

/// Keeps activations in memory where the budget allows it, or where there is none. Throws Error
/// where the budget, in bytes, is too small either way.
[[nodiscard]] inline MemoryPlan plan_memory(const QuantizeMemory& memory,
                                            std::optional<std::uint64_t> budget) {
  const std::uint64_t in_memory = memory.peak(false);
  if (!budget || in_memory <= *budget) return {in_memory, false};
  const std::uint64_t on_disk = memory.peak(true);
  if (on_disk <= *budget) return {on_disk, true};
  const auto megabytes = [](std::uint64_t count) {
    return concat(std::round(static_cast<double>(count) / 1e4) / 100, " MB");
  };
  const std::string on_disk_too =
      on_disk == in_memory ? std::string()
                           : concat(", or ", megabytes(on_disk),
                                    " with activations on disk; shorter windows take less");
  fail("memory budget of ", megabytes(*budget), ": quantizing takes ", megabytes(in_memory),
       on_disk_too);
}

}  // namespace nibble
