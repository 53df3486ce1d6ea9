// What measured best: GPTQ on searched grids, for corrected weights, refined by coordinate descent.
#pragma once

#include <string_view>

#include <nibble/quantize/gptq.hpp>

namespace nibble {

/// The quantizer. What its ingredients are, and what it reaches: docs/quantization.md.
class Best {
 public:
  static constexpr std::string_view name = "best";
  GptqOptions options{.search_grids = true, .correction = 1, .refinements = 3};

  [[nodiscard]] CalibrationNeeds needs() const noexcept { return {options.correction != 0}; }
  [[nodiscard]] CalibratedMatrix quantize(const WeightSource& source, const AnyFormat& format,
                                          const InputStatistics& statistics,
                                          ExecutorRef pool) const {
    return quantize_gptq(source, format, statistics, options, pool);
  }
};

}  // namespace nibble
