// Quantizes the Linears of a block that share their inputs, from what is known of these.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <Eigen/Core>

#include <nibble/core/function_ref.hpp>
#include <nibble/core/reporting_executor.hpp>
#include <nibble/model/calibrated_layers.hpp>
#include <nibble/model/calibration_stream.hpp>
#include <nibble/model/float_tensors.hpp>
#include <nibble/model/input_maker.hpp>
#include <nibble/model/recipe.hpp>
#include <nibble/model/tensor_overlay.hpp>
#include <nibble/quantize/channel_scales.hpp>
#include <nibble/quantize/quantize_matrix.hpp>

namespace nibble {

/// What has to be known of a group's inputs, beyond nothing.
struct GroupNeeds {
  bool hessian = false;
  bool cross = false;       // takes the float model's inputs
  bool magnitudes = false;  // the inputs may be scaled
};

/// Quantizes one group of Linears after the other, scaled, where they and what makes their inputs
/// all ask for that. What comes out replaces the tensors as the next layers and groups see them.
class GroupQuantizer {
 public:
  /// Borrows everything; `quantized` is the model as far as it is quantized.
  GroupQuantizer(const ModelConfig& config, const FloatTensors& tensors, const Recipe& recipe,
                 TensorOverlay& quantized, ExecutorRef pool, const KernelTable& kernels)
      : config_(config),
        tensors_(tensors),
        recipe_(recipe),
        quantized_(quantized),
        pool_(pool),
        kernels_(kernels) {
    for (TensorSpec& spec : tensor_specs(config)) specs_.emplace(spec.name, spec);
  }

  [[nodiscard]] GroupNeeds needs(Index layer, const InputGroup& group) const {
    const TensorSpec& maker = weight_spec(layer, group.maker);
    GroupNeeds needs{.magnitudes = maker.role == TensorRole::Vector || calibration(maker).scaling};
    for (const std::string_view part : group.parts) {
      const TensorSpec& spec = weight_spec(layer, part);
      const RecipeRule* rule = recipe_.find(spec.name);
      needs.hessian = needs.hessian || (rule != nullptr && is_calibrated(rule->method));
      needs.cross = needs.cross || calibration(spec).cross;
      needs.magnitudes = needs.magnitudes && calibration(spec).scaling;
    }
    return needs;
  }

  /// Quantizes a group. `statistics` and the inputs' mean `magnitudes` hold what `needs` asked for.
  /// Calls watch(tensor) again and again; what it throws ends the work. Returns what inputs that
  /// are kept have to be divided by, where a Linear makes them and they are scaled; else nothing.
  [[nodiscard]] std::optional<std::vector<float>> quantize(
      Index layer, const InputGroup& group, InputStatistics statistics,
      const std::optional<Eigen::VectorXd>& magnitudes,
      FunctionRef<void(std::string_view tensor)> watch) {
    const Clock::time_point start = Clock::now();
    std::optional<ChannelScales> scales;
    const TensorSpec& maker_spec = weight_spec(layer, group.maker);
    if (magnitudes) {
      const auto between = [&] { watch(weight_spec(layer, group.parts.front()).name); };
      const ReportingExecutor pool(pool_, between);
      between();
      const auto bias = specs_.find(layer_tensor_name(layer, concat(group.maker, ".bias")));
      const InputMaker maker(maker_spec, bias == specs_.end() ? nullptr : &bias->second,
                             group.inputs, config_.head_dim);
      scales = find_scales(layer, group, maker, *magnitudes, statistics, pool);
      if (scales->exponent != 0) {
        apply(maker, scales->scales);
        divide_inputs(statistics, scales->scales);
      }
    }
    const double searching = seconds_since(start) / static_cast<double>(group.parts.size());
    for (std::size_t i = 0; i < group.parts.size(); ++i) {
      const TensorSpec& spec = weight_spec(layer, group.parts[i]);
      watch(spec.name);
      quantize_tensor(spec, statistics, scales ? &*scales : nullptr, i, searching, watch);
    }
    // A norm's outputs are made anew.
    if (!scales || scales->exponent == 0 || maker_spec.role == TensorRole::Vector) return {};
    return std::move(scales->scales);
  }

  /// What was made since the last call.
  [[nodiscard]] CalibratedTensors take() { return std::exchange(result_, {}); }

 private:
  using Clock = std::chrono::steady_clock;

  [[nodiscard]] static double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  [[nodiscard]] ChannelScales find_scales(Index layer, const InputGroup& group,
                                          const InputMaker& maker,
                                          const Eigen::VectorXd& magnitudes,
                                          const InputStatistics& statistics,
                                          ExecutorRef pool) const {
    std::vector<LinearOnGrid> linears;
    for (const std::string_view part : group.parts) {
      const TensorSpec& spec = weight_spec(layer, part);
      require_statistics(statistics, {}, spec.cols, spec.name);
      linears.push_back({tensors_.source(spec), recipe_.find(spec.name)->format});
    }
    return search_channel_scales(linears, statistics.hessian, maker.shared(magnitudes),
                                 maker.limits(quantized_, pool), pool);
  }

  /// Divides the inputs where they are made.
  void apply(const InputMaker& maker, const std::vector<float>& scales) {
    maker.divide(quantized_, scales, pool_, [&]<class T>(const std::string& name, T tensor) {
      if constexpr (std::is_same_v<T, AnyMatrix>) {
        result_.matrices.insert_or_assign(name, tensor);
      } else {
        result_.vectors.insert_or_assign(name, tensor);
      }
      quantized_.replace(name, std::move(tensor));
    });
  }

  /// `scales`, or null, are those of the tensor's inputs; it is number `place` of their Linears.
  /// `searching` are the seconds that its share of their search took.
  void quantize_tensor(const TensorSpec& spec, const InputStatistics& statistics,
                       const ChannelScales* scales, std::size_t place, double searching,
                       FunctionRef<void(std::string_view)> watch) {
    const RecipeRule* rule = recipe_.find(spec.name);
    if (rule == nullptr) return;
    const Clock::time_point start = Clock::now();
    const WeightSource source = scales == nullptr
                                    ? tensors_.source(spec)
                                    : scale_columns(tensors_.source(spec), scales->scales);
    const auto between = [&] { watch(spec.name); };
    const ReportingExecutor pool(pool_, between);
    CalibratedMatrix result =
        quantize_matrix(source, rule->format, rule->method, statistics, pool, kernels_);
    if (is_calibrated(rule->method)) {
      CalibrationReport& report = result.report;
      if (scales != nullptr) {
        report.exponent = scales->exponent;
        // Errors with damping are of another measure than those of the search.
        const bool same_measure = report.errors_known() && report.damping == 0;
        if (same_measure) report.nearest_error = scales->plain_errors[place];
      }
      result_.reports.push_back({spec.name, std::string(quantizer_name(rule->method)), rule->format,
                                 report, searching + seconds_since(start)});
    }
    result_.matrices.emplace(spec.name, result.matrix);
    quantized_.replace(spec.name, std::move(result.matrix));
  }

  [[nodiscard]] const TensorSpec& weight_spec(Index layer, std::string_view part) const {
    return specs_.find(layer_tensor_name(layer, concat(part, ".weight")))->second;
  }

  /// What the rule for a tensor asks for; scaling only where its format's grids can follow.
  [[nodiscard]] CalibrationNeeds calibration(const TensorSpec& spec) const {
    const RecipeRule* rule = recipe_.find(spec.name);
    if (rule == nullptr) return {};
    CalibrationNeeds needs = calibration_needs(rule->method);
    needs.scaling = needs.scaling && has_row_grids(rule->format);
    return needs;
  }

  const ModelConfig& config_;
  const FloatTensors& tensors_;
  const Recipe& recipe_;
  TensorOverlay& quantized_;
  ExecutorRef pool_;
  const KernelTable& kernels_;
  std::map<std::string, TensorSpec, std::less<>> specs_;
  CalibratedTensors result_;
};

}  // namespace nibble
