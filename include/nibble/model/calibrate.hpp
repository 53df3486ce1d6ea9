// Quantizes a model's layers one after the other, each on the inputs that it will really get.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <filesystem>
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
#include <nibble/core/reporting_executor.hpp>
#include <nibble/model/calibrated_layers.hpp>
#include <nibble/model/calibration_stream.hpp>
#include <nibble/model/float_tensors.hpp>
#include <nibble/model/input_maker.hpp>
#include <nibble/model/recipe.hpp>
#include <nibble/model/tensor_overlay.hpp>
#include <nibble/quantize/channel_scales.hpp>
#include <nibble/quantize/gram.hpp>
#include <nibble/quantize/mean_magnitudes.hpp>

namespace nibble {

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
              const KernelTable& kernels, CalibratedLayers& layers,
              const std::filesystem::path& scratch)
      : config_(config),
        tensors_(tensors),
        recipe_(recipe),
        layers_(layers),
        windows_(text.windows()),
        window_(text.window),
        pool_(pool),
        progress_(progress),
        kernels_(kernels),
        float_(&tensors),
        quantized_(&float_) {
    for (TensorSpec& spec : tensor_specs(config)) specs_.emplace(spec.name, spec);
    const TensorSpec& embedding = specs_.find(embedding_name)->second;
    const RecipeRule* rule = recipe.find(embedding.name);
    const AnyMatrix exact = tensors.matrix(embedding, pool);
    stream_.emplace(
        config,
        Embedding(rule == nullptr ? exact : quantize_plain(*rule, tensors.source(embedding), pool)),
        text, pool, kernels, scratch);
    const bool cross = std::ranges::any_of(recipe.rules, [](const RecipeRule& r) {
      return !r.keep && calibration_needs(r.method).cross;
    });
    if (cross) float_stream_.emplace(config, Embedding(exact), text, pool, kernels, scratch);
  }

  void run() {
    for (Index index = 0; index < config_.layers; ++index) {
      run_layer(index);
      quantized_.clear();
      float_.clear();
    }
    report(progress_, "calibrating", steps(), steps());
  }

 private:
  void run_layer(Index index) {
    // What was finished in an earlier run is only run through.
    finished_ = index < layers_.finished();
    if (finished_) use_finished(index);
    // The layer that came before still has to be left.
    const std::optional<Linear> before = std::exchange(down_, std::nullopt);
    const std::optional<Linear> float_before = std::exchange(float_down_, std::nullopt);
    DecoderLayer layer = load(quantized_, index);
    std::optional<DecoderLayer> exact;
    if (float_stream_) exact = load(float_, index);

    for_each_input_group(config_, [&](const InputGroup& group, auto&& step) {
      quantize_group(index, group, [&](Index window) {
        const float* own = step(*stream_, layer, before ? &*before : nullptr, window);
        const float* other = float_stream_ ? step(*float_stream_, *exact,
                                                  float_before ? &*float_before : nullptr, window)
                                           : nullptr;
        return std::pair(own, other);
      });
      if (!float_stream_) float_.clear();  // what is quantized is not held as floats any more
      layer = load(quantized_, index);
    });
    down_.emplace(layer.feed_forward.down_proj());
    if (exact) float_down_.emplace(exact->feed_forward.down_proj());
    if (!finished_) layers_.add(std::exchange(result_, {}));
  }

  /// Replaces the tensors of a layer by what an earlier run has made of them.
  void use_finished(Index index) {
    const std::string prefix = layer_tensor_name(index, "");
    const auto use = [&](const auto& tensors) {
      for (auto place = tensors.lower_bound(prefix);
           place != tensors.end() && place->first.starts_with(prefix); ++place) {
        quantized_.replace(place->first, place->second);
      }
    };
    use(layers_.tensors().matrices);
    use(layers_.tensors().vectors);
  }

  /// Runs all windows up to the inputs of some Linears, which `step` returns, [window][inputs] in
  /// the quantized and in the float model, and quantizes those Linears; scaled, where they and
  /// what makes their inputs all ask for that.
  template <class Step>
  void quantize_group(Index layer, const InputGroup& group, Step&& step) {
    bool any = false;
    CalibrationNeeds all;
    const TensorSpec& maker_spec = weight_spec(layer, group.maker);
    bool scaling =
        !finished_ && (maker_spec.role == TensorRole::Vector || asks_for_scaling(maker_spec));
    std::vector<const TensorSpec*> specs;
    for (const std::string_view part : group.parts) {
      specs.push_back(&weight_spec(layer, part));
      scaling = scaling && asks_for_scaling(*specs.back());
      const RecipeRule* rule = recipe_.find(specs.back()->name);
      if (finished_ || rule == nullptr || !is_calibrated(rule->method)) continue;
      any = true;
      all.cross = all.cross || calibration_needs(rule->method).cross;
    }
    std::optional<Gram> hessian;
    std::optional<Gram> cross;
    std::optional<MeanMagnitudes> magnitudes;
    if (any) hessian.emplace(GramKind::Symmetric, group.inputs, kernels_);
    if (all.cross) cross.emplace(GramKind::Cross, group.inputs, kernels_);
    if (scaling) magnitudes.emplace(group.inputs);
    for (Index window = 0; window < windows_; ++window) {
      report(progress_, specs.front()->name, done_++, steps());
      const auto [own, exact] = step(window);
      if (hessian) hessian->add(own, window_, pool_);
      if (cross) cross->add(own, exact, window_, pool_);
      if (magnitudes) magnitudes->add(own, window_, pool_);
    }
    if (finished_) return;
    InputStatistics statistics;
    if (hessian) statistics.hessian = std::move(*hessian).finish();
    if (cross) statistics.cross = std::move(*cross).finish();
    std::optional<ChannelScales> scales;
    if (scaling) {
      report(progress_, specs.front()->name, done_, steps());
      const auto bias = specs_.find(layer_tensor_name(layer, concat(group.maker, ".bias")));
      scales = scale_inputs(specs,
                            InputMaker(maker_spec, bias == specs_.end() ? nullptr : &bias->second,
                                       group.inputs, config_.head_dim),
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
    const auto watch = [&] { report(progress_, spec.name, done_, steps()); };
    const ReportingExecutor pool(pool_, watch);
    std::optional<AnyMatrix> matrix;
    std::visit(
        [&]<class Q>(const Q& method) {
          if constexpr (CalibratedQuantizer<Q>) {
            CalibratedMatrix result =
                method.quantize(source, rule->format, statistics, pool, kernels_);
            const std::chrono::duration<double> seconds = Clock::now() - start;
            if (scales != nullptr) {
              result.report.exponent = scales->exponent;
              result.report.nearest_error = scales->plain_errors[place];
            }
            result_.reports.push_back(
                {spec.name, std::string(Q::name), rule->format, result.report, seconds.count()});
            matrix = std::move(result.matrix);
          } else {
            matrix = method.quantize(source, rule->format, pool);
          }
        },
        rule->method);
    result_.matrices.emplace(spec.name, *matrix);
    quantized_.replace(spec.name, *std::move(matrix));
  }

  [[nodiscard]] DecoderLayer load(const TensorProvider& tensors, Index layer) const {
    const Progress silent;
    return LayerLoader(config_, tensors, pool_, silent).layer(layer);
  }

  [[nodiscard]] const TensorSpec& weight_spec(Index layer, std::string_view part) const {
    return specs_.find(layer_tensor_name(layer, concat(part, ".weight")))->second;
  }
  [[nodiscard]] bool asks_for_scaling(const TensorSpec& spec) const {
    const RecipeRule* rule = recipe_.find(spec.name);
    return rule != nullptr && calibration_needs(rule->method).scaling &&
           has_row_grids(rule->format);
  }

  [[nodiscard]] Index steps() const noexcept { return config_.layers * 4 * windows_; }

  const ModelConfig& config_;
  const FloatTensors& tensors_;
  const Recipe& recipe_;
  CalibratedLayers& layers_;
  Index windows_;
  Index window_;
  ExecutorRef pool_;
  const Progress& progress_;
  const KernelTable& kernels_;
  std::map<std::string, TensorSpec, std::less<>> specs_;
  TensorOverlay float_;
  TensorOverlay quantized_;  // over float_: so both have the same packed floats
  std::optional<CalibrationStream> stream_;
  std::optional<CalibrationStream> float_stream_;
  std::optional<Linear> down_;  // of the layer before, still to be added
  std::optional<Linear> float_down_;
  bool finished_ = false;     // the layer at hand, in an earlier run
  CalibratedTensors result_;  // of the layer at hand
  Index done_ = 0;
};

}  // namespace calibrate_detail

/// Quantizes the Linears of a model's blocks by a recipe, in the order in which they are run, each
/// calibrated on the inputs that it gets from those already quantized (true-sequential), and hands
/// each finished layer to `layers`; goes on after those that `layers` has. Runs the text layer by
/// layer in float32; each Linear runs once for each window. Holds one layer, and the activations
/// of all windows: in memory, or in files in the directory `scratch` where it is not empty. The
/// same bytes come out for any number of threads. Throws as `require_calibration` and the
/// quantizers, or Cancelled.
inline void calibrate(const ModelConfig& config, const FloatTensors& tensors, const Recipe& recipe,
                      const CalibrationText* text, ExecutorRef pool, const Progress& progress,
                      const KernelTable& kernels, CalibratedLayers& layers,
                      const std::filesystem::path& scratch = {}) {
  if (!require_calibration(config, recipe, text) || layers.finished() >= config.layers) return;
  calibrate_detail::Calibration(config, tensors, recipe, *text, pool, progress, kernels, layers,
                                scratch)
      .run();
}

/// The same with everything in memory.
[[nodiscard]] inline CalibratedTensors calibrate(const ModelConfig& config,
                                                 const FloatTensors& tensors, const Recipe& recipe,
                                                 const CalibrationText* text, ExecutorRef pool,
                                                 const Progress& progress = {},
                                                 const KernelTable& kernels = nibble::kernels<>()) {
  LayersInMemory layers;
  calibrate(config, tensors, recipe, text, pool, progress, kernels, layers);
  return std::move(layers).take();
}

}  // namespace nibble
