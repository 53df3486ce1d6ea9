// IndexParameters: how an index keeps a vector, and RowEncoder, which writes vectors so.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/kernels/search_kernels.hpp>
#include <nibble/search/rabitq.hpp>
#include <nibble/search/scalar_codes.hpp>
#include <nibble/search/sign_codes.hpp>

namespace nibble {

/// The vectors that are kept beside the codes, to re-rank with.
enum class KeptVectors : std::uint8_t { None, Int8, Float32 };
inline constexpr std::array<std::string_view, 3> kept_vectors_names{"none", "int8", "float32"};

/// How an index keeps a vector; the same for all of its rows.
struct IndexParameters {
  Index dims = 0;
  /// Of a code's component, 1 to 8: RaBitQ with two corrections; 0: the plain sign bits, with none.
  int code_bits = 1;
  std::uint64_t seed = 1;  // of RaBitQ's rotation
  KeptVectors kept = KeptVectors::Int8;
  std::vector<float> centre;         // [dims] with RaBitQ, else empty
  std::vector<float> minima, steps;  // [dims] each with Int8, else empty: value = minimum + step n

  friend bool operator==(const IndexParameters&, const IndexParameters&) = default;
};

/// Parameters whose centre is the mean of these vectors, [n][dims], and whose ranges are theirs.
/// Throws Error where there are none, or one is not finite.
[[nodiscard]] inline IndexParameters fit_index(const Vectors& vectors, int code_bits,
                                               KeptVectors kept, std::uint64_t seed = 1) {
  IndexParameters parameters{vectors.cols(), code_bits, seed, kept, {}, {}, {}};
  const ScalarRanges ranges = ScalarRanges::of(vectors);
  if (code_bits > 0) {
    const Eigen::RowVectorXd mean = vectors.cast<double>().colwise().mean();
    for (const double value : mean) parameters.centre.push_back(static_cast<float>(value));
  }
  if (kept == KeptVectors::Int8) {
    parameters.minima.assign(ranges.minima().begin(), ranges.minima().end());
    parameters.steps.assign(ranges.steps().begin(), ranges.steps().end());
  }
  return parameters;
}

/// Bytes that a row takes in each of the parts of an index, but for its id.
struct RowBytes {
  Index code = 0, correction = 0, vector = 0;
};

/// Writes vectors as an index keeps them, and makes queries ready. Immutable; any number of threads
/// may use it, each with scratch of its own.
class RowEncoder {
 public:
  /// Throws Error where the parameters do not fit each other.
  explicit RowEncoder(IndexParameters parameters) : parameters_(std::move(parameters)) {
    const IndexParameters& p = parameters_;
    if (p.dims < 1 || p.dims > RaBitQ::max_dims) {
      fail("index: ", p.dims, " dimensions, expected 1 to ", RaBitQ::max_dims);
    }
    if (p.code_bits < 0 || p.code_bits > max_code_bits) {
      fail("index: codes of ", p.code_bits, " bits, expected 0 to ", max_code_bits);
    }
    const auto expect = [&](const char* what, const std::vector<float>& values, bool present) {
      const Index expected = present ? p.dims : 0;
      if (static_cast<Index>(values.size()) != expected) {
        fail("index: ", what, " of ", values.size(), " dimensions, expected ", expected);
      }
      for (const float value : values) {
        if (!std::isfinite(value)) fail("index: ", what, ": is not finite");
      }
    };
    expect("centre", p.centre, p.code_bits > 0);
    expect("minima", p.minima, p.kept == KeptVectors::Int8);
    expect("steps", p.steps, p.kept == KeptVectors::Int8);
    for (const float step : p.steps) {
      if (step < 0) fail("index: steps: a step below 0");
    }
    if (p.code_bits > 0) rabitq_.emplace(p.centre, p.code_bits, p.seed);
  }

  [[nodiscard]] const IndexParameters& parameters() const noexcept { return parameters_; }
  /// Null with plain sign bits.
  [[nodiscard]] const RaBitQ* rabitq() const noexcept { return rabitq_ ? &*rabitq_ : nullptr; }

  [[nodiscard]] RowBytes row_bytes() const noexcept {
    const Index dims = parameters_.dims;
    RowBytes bytes;
    bytes.code = code_bytes(dims, std::max(parameters_.code_bits, 1));
    bytes.correction = rabitq_ ? static_cast<Index>(sizeof(RaBitQCorrection)) : 0;
    if (parameters_.kept == KeptVectors::Int8) bytes.vector = dims;
    if (parameters_.kept == KeptVectors::Float32) {
      bytes.vector = dims * static_cast<Index>(sizeof(float));
    }
    return bytes;
  }

  /// Writes a vector, [dims]. What is not kept is not written to. Throws Error where it is not
  /// finite.
  void encode(std::span<const float> vector, std::uint8_t* code, RaBitQCorrection* correction,
              std::byte* kept, RaBitQ::Scratch& scratch) const {
    for (const float value : vector) {
      if (!std::isfinite(value)) fail("a vector is not finite");
    }
    if (rabitq_) {
      *correction = rabitq_->encode(vector, code, scratch);
    } else {
      pack_signs(vector, code);
    }
    if (parameters_.kept == KeptVectors::Float32) {
      std::memcpy(kept, vector.data(), vector.size_bytes());
    } else if (parameters_.kept == KeptVectors::Int8) {
      for (std::size_t i = 0; i < vector.size(); ++i) {
        const float step = parameters_.steps[i];
        const float place = step > 0 ? (vector[i] - parameters_.minima[i]) / step : 0;
        const int level = static_cast<int>(std::clamp(place + 0.5F, 0.0F, 255.0F));
        kept[i] = static_cast<std::byte>(level - 128);
      }
    }
  }

 private:
  IndexParameters parameters_;
  std::optional<RaBitQ> rabitq_;
};

/// A query for re-ranking by kept vectors: of int8 levels n, <q, minimum + step (n + 128)> is a
/// product with the levels and a sum that all rows share.
class KeptQuery {
 public:
  KeptQuery(std::span<const float> query, const IndexParameters& parameters)
      : weights_(query.begin(), query.end()), kept_(parameters.kept) {
    if (kept_ != KeptVectors::Int8) return;
    double offset = 0;
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      const double step = parameters.steps[i];
      offset += query[i] * (parameters.minima[i] + 128 * step);
      weights_[i] = query[i] * parameters.steps[i];
    }
    offset_ = static_cast<float>(offset);
  }

  /// The inner product with a kept vector.
  [[nodiscard]] float product(const std::byte* kept, const SearchKernels& kernels) const noexcept {
    const auto dims = static_cast<Index>(weights_.size());
    if (kept_ == KeptVectors::Int8) {
      return offset_ +
             kernels.dot_int8(weights_.data(), reinterpret_cast<const std::int8_t*>(kept), dims);
    }
    return kernels.dot(weights_.data(), reinterpret_cast<const float*>(kept), dims);
  }

 private:
  std::vector<float> weights_;
  KeptVectors kept_;
  float offset_ = 0;
};

}  // namespace nibble
