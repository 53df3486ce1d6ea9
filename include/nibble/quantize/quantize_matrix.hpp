// A matrix quantized by any quantizer of the list.
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
#include <nibble/quantize/quantizers.hpp>
#include <nibble/quantize/round_to_nearest.hpp>

namespace nibble {

/// From the weights alone. Throws Error, naming the tensor, where the quantizer needs a
/// calibration, and as the quantizer does.
[[nodiscard]] inline AnyMatrix quantize_matrix(const WeightSource& source, const AnyFormat& format,
                                               const AnyQuantizer& quantizer, ExecutorRef pool) {
  return std::visit(
      [&]<class Q>(const Q&) -> AnyMatrix {
        if constexpr (std::same_as<Q, RoundToNearest>) {
          return round_to_nearest(source, format, pool);
        } else {
          static_assert(CalibratedQuantizer<Q>);
          fail("tensor '", source.name, "': method ", Q::name, " needs a calibration");
        }
      },
      quantizer);
}

/// With what calibration knows of the inputs, which round-to-nearest does not look at. Throws as
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
          return {quantize_matrix(source, format, method, pool), {.nearest_rows = source.rows}};
        }
      },
      quantizer);
}

}  // namespace nibble
