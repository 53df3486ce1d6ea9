// What measured best: GPTQ on searched grids, for corrected weights, refined by coordinate descent.
#pragma once

#include <string_view>

#include <nibble/quantize/gptq.hpp>

namespace nibble {

/// The quantizer. What its ingredients are, and what it reaches: docs/quantization.md.
class Best : public Gptq {
 public:
  static constexpr std::string_view name = "best";

  Best() : Gptq{{.search_grids = true, .correction = 1, .refinements = 3}} {}
};

}  // namespace nibble
