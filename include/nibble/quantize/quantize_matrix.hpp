// A matrix quantized by any quantizer of the list, calibrated or not.
#pragma once

#include <concepts>
#include <variant>

#include <nibble/format/any_matrix.hpp>
#include <nibble/format/weight_source.hpp>
#include <nibble/kernels/kernel_table.hpp>
#include <nibble/quantize/awq.hpp>
#include <nibble/quantize/calibrated_matrix.hpp>
#include <nibble/quantize/gptq.hpp>
#include <nibble/quantize/input_statistics.hpp>
#include <nibble/quantize/quantize_plain.hpp>
#include <nibble/quantize/quantizers.hpp>

namespace nibble {

/// With what calibration knows of the inputs, which `quantize_plain` does not look at. Throws as
/// the quantizer does.
[[nodiscard]] inline CalibratedMatrix quantize_matrix(
    const WeightSource& source, const AnyFormat& format, const AnyQuantizer& quantizer,
    const InputStatistics& statistics, ExecutorRef pool,
    const KernelTable& kernels = nibble::kernels<>()) {
  return std::visit(
      [&]<class Q>(const Q& method) -> CalibratedMatrix {
        if constexpr (std::derived_from<Q, Gptq>) {
          return quantize_gptq(source, format, statistics, method, pool, kernels);
        } else if constexpr (std::same_as<Q, Awq>) {
          return quantize_awq(source, format, statistics, method, pool);
        } else {
          return {quantize_plain(source, format, method, pool), {.nearest_rows = source.rows}};
        }
      },
      quantizer);
}

}  // namespace nibble
