// Scalar quantization: each dimension's range in 256 steps, as sentence-transformers does it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <Eigen/Core>

#include <nibble/core/error.hpp>
#include <nibble/search/sign_codes.hpp>

namespace nibble {

/// Owned signed bytes [rows][cols].
using Int8Matrix = Eigen::Matrix<std::int8_t, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// The least and the largest value of every dimension.
class ScalarRanges {
 public:
  /// Of calibration vectors, [n][dims]. Throws Error where there are none, or one is not finite.
  [[nodiscard]] static ScalarRanges of(const Vectors& calibration) {
    if (calibration.rows() == 0) fail("calibration vectors: expected at least one, found none");
    for (Index i = 0; i < calibration.rows(); ++i) {
      if (!calibration.row(i).allFinite()) fail("calibration vector ", i, ": is not finite");
    }
    const Eigen::RowVectorXf minima = calibration.colwise().minCoeff();
    const Eigen::RowVectorXf maxima = calibration.colwise().maxCoeff();
    return ScalarRanges({minima.data(), minima.data() + minima.size()},
                        {maxima.data(), maxima.data() + maxima.size()});
  }

  /// Throws Error where the two have different lengths, or a range is not finite or ends before it
  /// begins.
  ScalarRanges(std::vector<float> minima, std::vector<float> maxima)
      : minima_(std::move(minima)), steps_(std::move(maxima)) {
    if (minima_.size() != steps_.size()) {
      fail("ranges: ", minima_.size(), " minima and ", steps_.size(), " maxima");
    }
    for (std::size_t i = 0; i < steps_.size(); ++i) {
      const float range = steps_[i] - minima_[i];
      if (!(range >= 0) || !std::isfinite(range)) {
        fail("ranges: dimension ", i, ": from ", minima_[i], " to ", steps_[i]);
      }
      steps_[i] = range / 255;
    }
  }

  [[nodiscard]] Index dims() const noexcept { return static_cast<Index>(minima_.size()); }
  [[nodiscard]] std::span<const float> minima() const noexcept { return minima_; }
  /// (maximum - minimum) / 255.
  [[nodiscard]] std::span<const float> steps() const noexcept { return steps_; }

 private:
  std::vector<float> minima_, steps_;
};

namespace scalar_codes_detail {

/// Codes of every component, made of its position in steps from the minimum, within 0..255.
template <class Code, class Make>
[[nodiscard]] auto quantize(const Vectors& vectors, const ScalarRanges& ranges, Make make) {
  if (vectors.cols() != ranges.dims()) {
    fail("vectors of ", vectors.cols(), " dimensions, the ranges have ", ranges.dims());
  }
  Eigen::Matrix<Code, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> codes(vectors.rows(),
                                                                             vectors.cols());
  for (Index i = 0; i < vectors.rows(); ++i) {
    for (Index j = 0; j < vectors.cols(); ++j) {
      const auto d = static_cast<std::size_t>(j);
      const float step = ranges.steps()[d];
      const float place = step > 0 ? (vectors(i, j) - ranges.minima()[d]) / step : 0;
      if (std::isnan(place)) fail("vector ", i, ": is not finite");
      codes(i, j) = make(std::clamp(place, 0.0F, 255.0F));
    }
  }
  return codes;
}

}  // namespace scalar_codes_detail

/// The precision "uint8" of sentence-transformers: (x - minimum) / step, towards zero. What lies
/// outside a range becomes its end (there, it wraps), a dimension without a range 0. Throws Error
/// for another number of dimensions, or a NaN.
[[nodiscard]] inline ByteMatrix quantize_uint8(const Vectors& vectors, const ScalarRanges& ranges) {
  return scalar_codes_detail::quantize<std::uint8_t>(
      vectors, ranges, [](float place) { return static_cast<std::uint8_t>(place); });
}

/// The precision "int8" of sentence-transformers: (x - minimum) / step - 128, towards zero. (So
/// below 0 it is not the uint8 code less 128, but mostly one more.) Otherwise as `quantize_uint8`.
[[nodiscard]] inline Int8Matrix quantize_int8(const Vectors& vectors, const ScalarRanges& ranges) {
  return scalar_codes_detail::quantize<std::int8_t>(
      vectors, ranges, [](float place) { return static_cast<std::int8_t>(place - 128); });
}

}  // namespace nibble
