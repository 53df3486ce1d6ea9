// The list of quantizers and their options: what programs' --method and recipes iterate. The
// algorithms are headers of their own, which `quantize_plain` and `quantize_matrix` bring together.
#pragma once

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include <nibble/core/error.hpp>
#include <nibble/quantize/calibration_needs.hpp>

namespace nibble {

/// Every weight to the nearest code of its group's min-max grid (round_to_nearest).
struct RoundToNearest {
  static constexpr std::string_view name = "rtn";

  template <class Self, class Visit>
  static void for_each_option(Self& /*self*/, Visit&& /*visit*/) {}
};

/// AWQ (quantize_awq).
struct Awq {
  static constexpr std::string_view name = "awq";

  /// Scale the inputs beforehand (search_channel_scales), which the calibration of a model does,
  /// since it changes what makes the inputs too.
  bool scaling = true;
  /// Search how far each group is clipped (search_clips).
  bool clip = true;

  [[nodiscard]] CalibrationNeeds needs() const noexcept { return {.scaling = scaling}; }

  /// Calls visit(name, option) for each option.
  template <class Self, class Visit>
  static void for_each_option(Self& self, Visit&& visit) {
    visit("scaling", self.scaling);
    visit("clip", self.clip);
  }

  friend bool operator==(const Awq&, const Awq&) = default;
};

/// GPTQ (quantize_gptq).
struct Gptq {
  static constexpr std::string_view name = "gptq";

  /// Added to the Hessian's diagonal, relative to its mean.
  double damping = 0.01;
  /// Take the inputs with the largest activations first, on grids that are fixed before (static
  /// groups, so that nothing is permuted at run time). Otherwise in their order, each group's grid
  /// made when its turn comes.
  bool act_order = true;
  /// Search the grids instead of taking them from the ranges (GridSearch).
  bool search_grids = false;
  /// Share of the correction for what the layers before did to the inputs (correct_for_inputs);
  /// takes a calibration with the float model's inputs.
  double correction = 0;
  /// Rounds of CoordinateDescent afterwards: scales, then codes.
  int refinements = 0;
  /// Scale the inputs beforehand, as Awq::scaling.
  bool scaling = false;

  [[nodiscard]] CalibrationNeeds needs() const noexcept { return {correction != 0, scaling}; }

  template <class Self, class Visit>
  static void for_each_option(Self& self, Visit&& visit) {
    visit("damping", self.damping);
    visit("act_order", self.act_order);
    visit("search_grids", self.search_grids);
    visit("correction", self.correction);
    visit("refinements", self.refinements);
    visit("scaling", self.scaling);
  }

  friend bool operator==(const Gptq&, const Gptq&) = default;
};

/// What measured best: GPTQ on searched grids, for corrected weights, refined by coordinate
/// descent. What its ingredients are, and what it reaches: docs/quantization.md.
struct Best : Gptq {
  static constexpr std::string_view name = "best";

  Best() : Gptq{.search_grids = true, .correction = 1, .refinements = 3} {}
};

/// An algorithm that picks the codes of a matrix in a given format, as its name and options.
template <class Q>
concept Quantizer = std::default_initializable<Q> && requires {
  { Q::name } -> std::convertible_to<std::string_view>;
};

/// One that picks them from what calibration knows of the matrix's inputs, not from weights alone.
template <class Q>
concept CalibratedQuantizer = Quantizer<Q> && requires(const Q& quantizer) {
  { quantizer.needs() } -> std::same_as<CalibrationNeeds>;
};

/// Any quantizer; a new one is a new alternative here and, by whether it is calibrated,
/// in `quantize_matrix` or `quantize_plain`.
using AnyQuantizer = std::variant<RoundToNearest, Awq, Gptq, Best>;

/// Counts the changes after which a quantizer picks other codes than it did, or a calibration or
/// bit budget other formats: what an interrupted run has finished is gone on with in one revision.
inline constexpr int quantizers_revision = 1;

/// Whether a quantizer needs a calibration.
[[nodiscard]] inline bool is_calibrated(const AnyQuantizer& quantizer) {
  return std::visit([]<class Q>(const Q&) { return CalibratedQuantizer<Q>; }, quantizer);
}

/// What a quantizer asks of a calibration; nothing where it needs none.
[[nodiscard]] inline CalibrationNeeds calibration_needs(const AnyQuantizer& quantizer) {
  return std::visit(
      []<class Q>(const Q& value) {
        if constexpr (CalibratedQuantizer<Q>) return value.needs();
        return CalibrationNeeds{};
      },
      quantizer);
}

[[nodiscard]] inline std::string_view quantizer_name(const AnyQuantizer& quantizer) {
  return std::visit([]<class Q>(const Q&) { return std::string_view(Q::name); }, quantizer);
}

/// Calls visit(name) for each quantizer.
template <class Visit, std::size_t I = 0>
void for_each_quantizer_name(Visit&& visit) {
  if constexpr (I < std::variant_size_v<AnyQuantizer>) {
    static_assert(Quantizer<std::variant_alternative_t<I, AnyQuantizer>>);
    visit(std::string_view(std::variant_alternative_t<I, AnyQuantizer>::name));
    for_each_quantizer_name<Visit, I + 1>(std::forward<Visit>(visit));
  }
}

/// The quantizer of that name. Throws Error for an unknown one.
template <std::size_t I = 0>
[[nodiscard]] AnyQuantizer make_quantizer(std::string_view name) {
  if constexpr (I < std::variant_size_v<AnyQuantizer>) {
    using Candidate = std::variant_alternative_t<I, AnyQuantizer>;
    if (name == Candidate::name) return Candidate{};
    return make_quantizer<I + 1>(name);
  } else {
    std::string names;
    for_each_quantizer_name([&](std::string_view known) {
      if (!names.empty()) names += ", ";
      names += known;
    });
    fail("unknown method '", name, "'; expected one of: ", names);
  }
}

}  // namespace nibble
