// Quantizes a model's layers one after the other, each on the inputs that it will really get.
#pragma once

#include <algorithm>
#include <chrono>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <nibble/core/progress.hpp>
#include <nibble/model/calibration_stream.hpp>
#include <nibble/model/float_tensors.hpp>
#include <nibble/model/input_maker.hpp>
#include <nibble/model/recipe.hpp>
#include <nibble/model/tensor_overlay.hpp>
#include <nibble/quantize/channel_scales.hpp>
#include <nibble/quantize/gram.hpp>
#include <nibble/quantize/mean_magnitudes.hpp>

namespace nibble {

/// How the quantization of one tensor went.
struct TensorReport {
  std::string tensor;
  std::string method;
  AnyFormat format;
  CalibrationReport calibration;
  double seconds = 0;  // of the quantizer, without the calibration's runs
};

/// What `calibrate` makes: every Linear of the blocks that the recipe quantizes, and the norms and
/// biases that took up scales.
struct CalibratedTensors {
  std::map<std::string, AnyMatrix, std::less<>> matrices;
  std::map<std::string, std::vector<float>, std::less<>> vectors;
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

    const auto quantize = [&](std::initializer_list<std::string_view> parts, std::string_view maker,
                              Index inputs, auto&& step) {
      quantize_parts(index, parts, maker, inputs, [&](Index window) {
        const float* own = step(*stream_, layer, quantized_down, window);
        const float* other =
            float_stream_ ? step(*float_stream_, *exact, float_down, window) : nullptr;
        return std::pair(own, other);
      });
      layer = load(quantized_, index);
    };
    quantize({"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, "input_layernorm",
             config_.hidden_size,
             [](CalibrationStream& stream, const DecoderLayer& l, const auto& down, Index window) {
               if (down) stream.add(down->feed_forward.down_proj(), window);
               return stream.normalize(l.input_norm, window);
             });
    quantize({"self_attn.o_proj"}, "self_attn.v_proj", config_.heads * config_.head_dim,
             [](CalibrationStream& stream, const DecoderLayer& l, const auto&, Index window) {
               return stream.mix(l, window);
             });
    quantize({"mlp.gate_proj", "mlp.up_proj"}, "post_attention_layernorm", config_.hidden_size,
             [](CalibrationStream& stream, const DecoderLayer& l, const auto&, Index window) {
               stream.add(l.attention.o_proj(), window);
               return stream.normalize(l.post_attention_norm, window);
             });
    quantize({"mlp.down_proj"}, "mlp.up_proj", config_.intermediate_size,
             [](CalibrationStream& stream, const DecoderLayer& l, const auto&, Index window) {
               return stream.activate(l, window);
             });
    last_ = std::move(layer);
    float_last_ = std::move(exact);
  }

  /// Runs all windows up to the inputs of some Linears, which `step` returns, [window][inputs] in
  /// the quantized and in the float model, and quantizes those Linears; scaled, where they and
  /// `maker`, which makes their inputs, all ask for that.
  template <class Step>
  void quantize_parts(Index layer, std::initializer_list<std::string_view> parts,
                      std::string_view maker, Index inputs, Step&& step) {
    bool any = false;
    CalibrationNeeds all;
    const TensorSpec& maker_spec = weight_spec(layer, maker);
    bool scaling = maker_spec.role == TensorRole::Vector || asks_for_scaling(maker_spec);
    std::vector<const TensorSpec*> specs;
    for (const std::string_view part : parts) {
      specs.push_back(&weight_spec(layer, part));
      scaling = scaling && asks_for_scaling(*specs.back());
      const RecipeRule* rule = recipe_.find(specs.back()->name);
      if (rule == nullptr || !is_calibrated(rule->method)) continue;
      any = true;
      all.cross = all.cross || needs(rule->method).cross;
    }
    std::optional<Gram> hessian;
    std::optional<Gram> cross;
    std::optional<MeanMagnitudes> magnitudes;
    if (any) hessian.emplace(GramKind::Symmetric, inputs, kernels_);
    if (all.cross) cross.emplace(GramKind::Cross, inputs, kernels_);
    if (scaling) magnitudes.emplace(inputs);
    for (Index window = 0; window < windows_; ++window) {
      report(progress_, specs.front()->name, done_++, steps());
      const auto [own, exact] = step(window);
      if (hessian) hessian->add(own, window_, pool_);
      if (cross) cross->add(own, exact, window_, pool_);
      if (magnitudes) magnitudes->add(own, window_, pool_);
    }
    InputStatistics statistics;
    if (hessian) statistics.hessian = std::move(*hessian).finish();
    if (cross) statistics.cross = std::move(*cross).finish();
    std::optional<ChannelScales> scales;
    if (scaling) {
      report(progress_, specs.front()->name, done_, steps());
      const auto bias = specs_.find(layer_tensor_name(layer, concat(maker, ".bias")));
      scales = scale_inputs(specs,
                            InputMaker(maker_spec, bias == specs_.end() ? nullptr : &bias->second,
                                       inputs, config_.head_dim),
                            magnitudes->mean(), statistics);
    }
    for (std::size_t i = 0; i < specs.size(); ++i) {
      report(progress_, specs[i]->name, done_, steps());
      quantize_tensor(*specs[i], statistics, scales ? &*scales : nullptr, i);
    }
  }

  /// Finds the scales of some Linears' inputs and divides the inputs by them: where they are made,
  /// in the statistics, and as the stream keeps them.
  ChannelScales scale_inputs(std::span<const TensorSpec* const> specs, const InputMaker& maker,
                             const Eigen::VectorXd& magnitudes, InputStatistics& statistics) {
    std::vector<LinearOnGrid> linears;
    for (const TensorSpec* spec : specs) {
      require_statistics(statistics, {}, spec->cols, spec->name);
      linears.push_back({tensors_.source(*spec), recipe_.find(spec->name)->format});
    }
    ChannelScales scales =
        search_channel_scales(linears, statistics.hessian, maker.shared(magnitudes),
                              maker.limits(quantized_, pool_), pool_);
    if (scales.exponent == 0) return scales;
    maker.divide(quantized_, scales.scales, pool_, [&]<class T>(const std::string& name, T tensor) {
      if constexpr (std::is_same_v<T, AnyMatrix>) {
        result_.matrices.insert_or_assign(name, tensor);
      } else {
        result_.vectors.insert_or_assign(name, tensor);
      }
      quantized_.replace(name, std::move(tensor));
    });
    divide_inputs(statistics, scales.scales);
    if (maker.is_linear()) stream_->divide_inputs(scales.scales);  // a norm's are made anew
    return scales;
  }

  /// `scales`, or null, are those of the tensor's inputs; it is number `place` of their Linears.
  void quantize_tensor(const TensorSpec& spec, const InputStatistics& statistics,
                       const ChannelScales* scales, std::size_t place) {
    const RecipeRule* rule = recipe_.find(spec.name);
    if (rule == nullptr) return;
    using Clock = std::chrono::steady_clock;
    const Clock::time_point start = Clock::now();
    const WeightSource source = scales == nullptr
                                    ? tensors_.source(spec)
                                    : scale_columns(tensors_.source(spec), scales->scales);
    std::optional<AnyMatrix> matrix;
    std::visit(
        [&]<class Q>(const Q& method) {
          if constexpr (CalibratedQuantizer<Q>) {
            CalibratedMatrix result = method.quantize(source, rule->format, statistics, pool_);
            const std::chrono::duration<double> seconds = Clock::now() - start;
            if (scales != nullptr) {
              result.report.exponent = scales->exponent;
              result.report.nearest_error = scales->plain_errors[place];
            }
            result_.reports.push_back(
                {spec.name, std::string(Q::name), rule->format, result.report, seconds.count()});
            matrix = std::move(result.matrix);
          } else {
            matrix = method.quantize(source, rule->format, pool_);
          }
        },
        rule->method);
    result_.matrices.emplace(spec.name, *matrix);
    quantized_.replace(spec.name, *std::move(matrix));
  }

  [[nodiscard]] DecoderLayer load(const TensorOverlay& tensors, Index layer) const {
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

  [[nodiscard]] const TensorSpec& weight_spec(Index layer, std::string_view part) const {
    return specs_.find(layer_tensor_name(layer, concat(part, ".weight")))->second;
  }
  [[nodiscard]] bool asks_for_scaling(const TensorSpec& spec) const {
    const RecipeRule* rule = recipe_.find(spec.name);
    return rule != nullptr && needs(rule->method).scaling && has_row_grids(rule->format);
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
  TensorOverlay quantized_;
  TensorOverlay float_;
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
