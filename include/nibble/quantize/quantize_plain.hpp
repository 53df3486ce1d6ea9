// A matrix quantized from its weights alone.
#pragma once

#include <concepts>
#include <variant>

#include <nibble/format/any_matrix.hpp>
#include <nibble/format/weight_source.hpp>
#include <nibble/quantize/quantizers.hpp>
#include <nibble/quantize/round_to_nearest.hpp>

namespace nibble {

/// Throws Error, naming the tensor, where the quantizer needs a calibration, and as it does itself.
[[nodiscard]] inline AnyMatrix quantize_plain(const WeightSource& source, const AnyFormat& format,
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

}  // namespace nibble
