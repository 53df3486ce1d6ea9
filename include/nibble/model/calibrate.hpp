// Quantizes a model's layers one after the other, each on the inputs that it will really get.
#pragma once

#include <algorithm>
#include <chrono>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <nibble/core/progress.hpp>
#include <nibble/model/calibration_stream.hpp>
#include <nibble/model/float_tensors.hpp>
#include <nibble/model/recipe.hpp>
#include <nibble/quantize/gram.hpp>

namespace nibble {

/// How the quantization of one tensor went.
struct TensorReport {
  std::string tensor;
  std::string method;
  AnyFormat format;
  CalibrationReport calibration;
  double seconds = 0;  // of the quantizer, without the calibration's runs
};

/// What `calibrate` makes: every Linear of the blocks that the recipe quantizes.
struct CalibratedTensors {
  std::map<std::string, AnyMatrix, std::less<>> matrices;
  std::vector<TensorReport> reports;  // of the calibrated methods, in the order of the model
};

/// Throws Error where a recipe has a calibrated method but `text` is null, or for a tensor that is
/// no Linear of the blocks; where the text is shorter than a window; or a window is longer than the
/// model's context. Returns whether the recipe has any calibrated method.
[[nodiscard]] inline bool require_calibration(const ModelConfig& config, const Recipe& recipe,
                                              const CalibrationText* text) {
  bool calibrated = false;
  for (const TensorSpec& spec : tensor_specs(config)) {
    const RecipeRule* rule = recipe.find(spec.name);
    if (spec.role == TensorRole::Vector || rule == nullptr || !is_calibrated(rule->method)) {
      continue;
    }
    const std::string_view method = quantizer_name(rule->method);
    if (spec.role != TensorRole::Linear) {
      fail("recipe: method ", method, " is for the Linear layers of the decoder's blocks; '",
           spec.name, "' is none of them");
    }
    if (text == nullptr) {
      fail("tensor '", spec.name, "': method ", method, " needs a text to calibrate on");
    }
    calibrated = true;
  }
  if (!calibrated) return false;
  if (text->window < 1 || text->samples < 1) {
    fail("calibration: ", text->samples, " windows of ", text->window,
         " tokens, expected 1 or more of both");
  }
  if (text->window > config.max_positions) {
    fail("calibration: a window of ", text->window,
         " tokens is longer than the model's context of ", config.max_positions);
  }
  if (text->windows() == 0) {
    fail("calibration: the text has ", text->tokens.size(), " tokens, less than a window of ",
         text->window);
  }
  for (const TokenId id : text->tokens) {
    if (id < 0 || id >= config.vocab_size) {
      fail("calibration: token id ", id, " is outside the vocabulary of ", config.vocab_size);
    }
  }
  return true;
}

/// Quantizes by a rule whose method needs no calibration. Throws Error where it does need one.
[[nodiscard]] inline AnyMatrix quantize_plain(const RecipeRule& rule, const WeightSource& source,
                                              ExecutorRef pool) {
  return std::visit(
      [&]<class Q>(const Q& method) -> AnyMatrix {
        if constexpr (PlainQuantizer<Q>) {
          return method.quantize(source, rule.format, pool);
        } else {
          fail("tensor '", source.name, "': method ", Q::name, " needs a calibration");
        }
      },
      rule.method);
}

namespace calibrate_detail {

/// The tensors of a model of which some are replaced; what was delivered is kept until `clear`.
class Overlay : public TensorProvider {
 public:
  /// Borrows `tensors`.
  explicit Overlay(const FloatTensors& tensors) : tensors_(tensors) {}

  void replace(std::string_view name, AnyMatrix matrix) {
    matrices_.insert_or_assign(std::string(name), std::move(matrix));
  }
  void clear() noexcept { matrices_.clear(); }

  [[nodiscard]] AnyFormat format(const TensorSpec& spec) const override {
    const auto place = matrices_.find(spec.name);
    return place == matrices_.end() ? tensors_.format(spec) : place->second.format();
  }
  [[nodiscard]] AnyMatrix matrix(const TensorSpec& spec, ExecutorRef pool) const override {
    auto place = matrices_.find(spec.name);
    if (place == matrices_.end()) {
      place = matrices_.emplace(spec.name, tensors_.matrix(spec, pool)).first;
    }
    return place->second;
  }
  [[nodiscard]] std::vector<float> vector(const TensorSpec& spec) const override {
    return tensors_.vector(spec);
  }

 private:
  const FloatTensors& tensors_;
  mutable std::map<std::string, AnyMatrix, std::less<>> matrices_;
};

/// The model as far as it is quantized and, where a method asks for its inputs, the float model,
/// going through the layers side by side.
class Calibration {
 public:
  Calibration(const ModelConfig& config, const FloatTensors& tensors, const Recipe& recipe,
              const CalibrationText& text, ExecutorRef pool, const Progress& progress,
              const KernelTable& kernels)
      : config_(config),
        tensors_(tensors),
        recipe_(recipe),
        windows_(text.windows()),
        window_(text.window),
        pool_(pool),
        progress_(progress),
        kernels_(kernels),
        quantized_(tensors),
        float_(tensors) {
    for (TensorSpec& spec : tensor_specs(config)) specs_.emplace(spec.name, spec);
    const TensorSpec& embedding = specs_.find(embedding_name)->second;
    const RecipeRule* rule = recipe.find(embedding.name);
    const AnyMatrix exact = tensors.matrix(embedding, pool);
    stream_.emplace(
        config,
        Embedding(rule == nullptr ? exact : quantize_plain(*rule, tensors.source(embedding), pool)),
        text, pool, kernels);
    const bool cross = std::ranges::any_of(
        recipe.rules, [](const RecipeRule& r) { return !r.keep && needs(r.method).cross; });
    if (cross) float_stream_.emplace(config, Embedding(exact), text, pool, kernels);
  }

  [[nodiscard]] CalibratedTensors run() {
    for (Index index = 0; index < config_.layers; ++index) {
      run_layer(index);
      quantized_.clear();
      float_.clear();
    }
    report(progress_, "calibrating", steps(), steps());
    return std::move(result_);
  }

 private:
  void run_layer(Index index) {
    // The layer that came before still has to be left.
    const auto quantized_down = std::exchange(last_, std::nullopt);
    const auto float_down = std::exchange(float_last_, std::nullopt);
    DecoderLayer layer = load(quantized_, index);
    std::optional<DecoderLayer> exact;
    if (float_stream_) exact = load(float_, index);

    const auto quantize = [&](std::initializer_list<std::string_view> parts, Index inputs,
                              auto&& step) {
      quantize_parts(index, parts, inputs, [&](Index window) {
        const float* own = step(*stream_, layer, quantized_down, window);
        const float* other =
            float_stream_ ? step(*float_stream_, *exact, float_down, window) : nullptr;
        return std::pair(own, other);
      });
      layer = load(quantized_, index);
    };
    quantize({"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, config_.hidden_size,
             [](CalibrationStream& stream, const DecoderLayer& l, const auto& down, Index window) {
               if (down) stream.add(down->feed_forward.down_proj(), window);
               return stream.normalize(l.input_norm, window);
             });
    quantize({"self_attn.o_proj"}, config_.heads * config_.head_dim,
             [](CalibrationStream& stream, const DecoderLayer& l, const auto&, Index window) {
               return stream.mix(l, window);
             });
    quantize({"mlp.gate_proj", "mlp.up_proj"}, config_.hidden_size,
             [](CalibrationStream& stream, const DecoderLayer& l, const auto&, Index window) {
               stream.add(l.attention.o_proj(), window);
               return stream.normalize(l.post_attention_norm, window);
             });
    quantize({"mlp.down_proj"}, config_.intermediate_size,
             [](CalibrationStream& stream, const DecoderLayer& l, const auto&, Index window) {
               return stream.activate(l, window);
             });
    last_ = std::move(layer);
    float_last_ = std::move(exact);
  }

  /// Runs all windows up to the inputs of some Linears, which `step` returns, [window][inputs] in
  /// the quantized and in the float model, and quantizes those Linears.
  template <class Step>
  void quantize_parts(Index layer, std::initializer_list<std::string_view> parts, Index inputs,
                      Step&& step) {
    bool any = false;
    CalibrationNeeds all;
    std::vector<const TensorSpec*> specs;
    for (const std::string_view part : parts) {
      specs.push_back(&specs_.find(layer_tensor_name(layer, concat(part, ".weight")))->second);
      const RecipeRule* rule = recipe_.find(specs.back()->name);
      if (rule == nullptr || !is_calibrated(rule->method)) continue;
      any = true;
      all.cross = all.cross || needs(rule->method).cross;
    }
    std::optional<Gram> hessian;
    std::optional<Gram> cross;
    if (any) hessian.emplace(GramKind::Symmetric, inputs, kernels_);
    if (all.cross) cross.emplace(GramKind::Cross, inputs, kernels_);
    for (Index window = 0; window < windows_; ++window) {
      report(progress_, specs.front()->name, done_++, steps());
      const auto [own, exact] = step(window);
      if (hessian) hessian->add(own, window_, pool_);
      if (cross) cross->add(own, exact, window_, pool_);
    }
    InputStatistics statistics;
    if (hessian) statistics.hessian = std::move(*hessian).finish();
    if (cross) statistics.cross = std::move(*cross).finish();
    for (const TensorSpec* spec : specs) {
      report(progress_, spec->name, done_, steps());
      quantize_tensor(*spec, statistics);
    }
  }

  void quantize_tensor(const TensorSpec& spec, const InputStatistics& statistics) {
    const RecipeRule* rule = recipe_.find(spec.name);
    if (rule == nullptr) return;
    using Clock = std::chrono::steady_clock;
    const Clock::time_point start = Clock::now();
    std::optional<AnyMatrix> matrix;
    std::visit(
        [&]<class Q>(const Q& method) {
          if constexpr (CalibratedQuantizer<Q>) {
            CalibratedMatrix result =
                method.quantize(tensors_.source(spec), rule->format, statistics, pool_, kernels_);
            const std::chrono::duration<double> seconds = Clock::now() - start;
            result_.reports.push_back(
                {spec.name, std::string(Q::name), rule->format, result.report, seconds.count()});
            matrix = std::move(result.matrix);
          } else {
            matrix = method.quantize(tensors_.source(spec), rule->format, pool_);
          }
        },
        rule->method);
    result_.matrices.emplace(spec.name, *matrix);
    quantized_.replace(spec.name, *std::move(matrix));
  }

  [[nodiscard]] DecoderLayer load(const Overlay& tensors, Index layer) const {
    const Progress silent;
    return LayerLoader(config_, tensors, pool_, silent).layer(layer);
  }

  [[nodiscard]] static CalibrationNeeds needs(const AnyQuantizer& method) {
    return std::visit(
        []<class Q>(const Q& value) {
          if constexpr (CalibratedQuantizer<Q>) return value.needs();
          return CalibrationNeeds{};
        },
        method);
  }

  [[nodiscard]] Index steps() const noexcept { return config_.layers * 4 * windows_; }

  const ModelConfig& config_;
  const FloatTensors& tensors_;
  const Recipe& recipe_;
  Index windows_;
  Index window_;
  ExecutorRef pool_;
  const Progress& progress_;
  const KernelTable& kernels_;
  std::map<std::string, TensorSpec, std::less<>> specs_;
  Overlay quantized_;
  Overlay float_;
  std::optional<CalibrationStream> stream_;
  std::optional<CalibrationStream> float_stream_;
  std::optional<DecoderLayer> last_;  // the layer before, whose down_proj is still to be added
  std::optional<DecoderLayer> float_last_;
  CalibratedTensors result_;
  Index done_ = 0;
};

}  // namespace calibrate_detail

/// Quantizes the Linears of a model's blocks by a recipe, in the order in which they are run, each
/// calibrated on the inputs that it gets from those already quantized (true-sequential). Runs the
/// text layer by layer in float32 and holds the activations of one layer; each Linear runs once
/// for each window. The same bytes come out for any number of threads. Throws as
/// `require_calibration` and the quantizers, or Cancelled.
[[nodiscard]] inline CalibratedTensors calibrate(const ModelConfig& config,
                                                 const FloatTensors& tensors, const Recipe& recipe,
                                                 const CalibrationText* text, ExecutorRef pool,
                                                 const Progress& progress = {},
                                                 const KernelTable& kernels = nibble::kernels<>()) {
  if (!require_calibration(config, recipe, text)) return {};
  return calibrate_detail::Calibration(config, tensors, recipe, *text, pool, progress, kernels)
      .run();
}

}  // namespace nibble
