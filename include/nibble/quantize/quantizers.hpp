// The list of quantizers: what programs' --method and recipes iterate.
#pragma once

#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include <nibble/quantize/awq.hpp>
#include <nibble/quantize/best.hpp>
#include <nibble/quantize/gptq.hpp>
#include <nibble/quantize/round_to_nearest.hpp>

namespace nibble {

/// Picks the codes of a matrix from its weights alone.
template <class Q>
concept PlainQuantizer = requires(const Q& quantizer, const WeightSource& source,
                                  const AnyFormat& format, ExecutorRef pool) {
  { quantizer.quantize(source, format, pool) } -> std::same_as<AnyMatrix>;
};

/// Picks the codes of a matrix from its weights and what calibration knows of its inputs; `needs()`
/// says what that has to be.
template <class Q>
concept CalibratedQuantizer = requires(const Q& quantizer, const WeightSource& source,
                                       const AnyFormat& format, const InputStatistics& statistics,
                                       ExecutorRef pool, const KernelTable& kernels) {
  { quantizer.needs() } -> std::same_as<CalibrationNeeds>;
  {
    quantizer.quantize(source, format, statistics, pool, kernels)
    } -> std::same_as<CalibratedMatrix>;
};

/// An algorithm that picks the codes of a matrix in a given format.
template <class Q>
concept Quantizer = std::default_initializable<Q> &&
    (PlainQuantizer<Q> || CalibratedQuantizer<Q>)&&requires {
  { Q::name } -> std::convertible_to<std::string_view>;
};

/// Any quantizer; a new one is a new alternative here.
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
