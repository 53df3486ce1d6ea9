// Quantizes a model's layers one after the other, each on the inputs that it will really get.
#pragma once

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <Eigen/Core>

#include <nibble/core/progress.hpp>
#include <nibble/model/calibrated_layers.hpp>
#include <nibble/model/calibration_stream.hpp>
#include <nibble/model/float_tensors.hpp>
#include <nibble/model/group_quantizer.hpp>
#include <nibble/model/quantized_tensors.hpp>
#include <nibble/model/recipe.hpp>
#include <nibble/model/tensor_overlay.hpp>
#include <nibble/quantize/gram.hpp>
#include <nibble/quantize/mean_magnitudes.hpp>

namespace nibble {

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
        layers_(layers),
        windows_(text.windows()),
        window_(text.window),
        pool_(pool),
        progress_(progress),
        kernels_(kernels),
        float_(&tensors),
        quantized_(&float_),
        quantizer_(config, tensors, recipe, quantized_, pool, kernels) {
    const std::vector<TensorSpec> specs = tensor_specs(config);
    const TensorSpec& embedding = *std::ranges::find(specs, embedding_name, &TensorSpec::name);
    const RecipeRule* rule = recipe.find(embedding.name);
    const AnyMatrix exact = tensors.matrix(embedding, pool);
    stream_.emplace(config,
                    Embedding(rule == nullptr ? exact
                                              : quantize_plain(tensors.source(embedding),
                                                               rule->format, rule->method, pool)),
                    text, pool, kernels, scratch);
    if (calibration_needs(config, recipe).cross) {
      float_stream_.emplace(config, Embedding(exact), text, pool, kernels, scratch);
    }
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
    if (!finished_) layers_.add(quantizer_.take());
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
  /// the quantized and in the float model, and quantizes those Linears.
  template <class Step>
  void quantize_group(Index layer, const InputGroup& group, Step&& step) {
    const GroupNeeds needs = finished_ ? GroupNeeds{} : quantizer_.needs(layer, group);
    std::optional<Gram> hessian;
    std::optional<Gram> cross;
    std::optional<MeanMagnitudes> magnitudes;
    if (needs.hessian) hessian.emplace(GramKind::Symmetric, group.inputs, kernels_);
    if (needs.cross) cross.emplace(GramKind::Cross, group.inputs, kernels_);
    if (needs.magnitudes) magnitudes.emplace(group.inputs);
    const auto watch = [&](std::string_view tensor) { report(progress_, tensor, done_, steps()); };
    for (Index window = 0; window < windows_; ++window, ++done_) {
      watch(layer_tensor_name(layer, concat(group.parts.front(), ".weight")));
      const auto [own, exact] = step(window);
      if (hessian) hessian->add(own, window_, pool_);
      if (cross) cross->add(own, exact, window_, pool_);
      if (magnitudes) magnitudes->add(own, window_, pool_);
    }
    if (finished_) return;
    InputStatistics statistics;
    if (hessian) statistics.hessian = std::move(*hessian).finish();
    if (cross) statistics.cross = std::move(*cross).finish();
    std::optional<Eigen::VectorXd> means;
    if (magnitudes) means = magnitudes->mean();
    auto scales = quantizer_.quantize(layer, group, std::move(statistics), means, watch);
    if (scales) stream_->divide_inputs(*std::move(scales));
  }

  [[nodiscard]] DecoderLayer load(const TensorProvider& tensors, Index layer) const {
    const Progress silent;
    return LayerLoader(config_, tensors, pool_, silent).layer(layer);
  }

  [[nodiscard]] Index steps() const noexcept { return config_.layers * 4 * windows_; }

  const ModelConfig& config_;
  CalibratedLayers& layers_;
  Index windows_;
  Index window_;
  ExecutorRef pool_;
  const Progress& progress_;
  const KernelTable& kernels_;
  TensorOverlay float_;
  TensorOverlay quantized_;  // over float_: so both have the same packed floats
  GroupQuantizer quantizer_;
  std::optional<CalibrationStream> stream_;
  std::optional<CalibrationStream> float_stream_;
  std::optional<Linear> down_;  // of the layer before, still to be added
  std::optional<Linear> float_down_;
  bool finished_ = false;  // the layer at hand, in an earlier run
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
