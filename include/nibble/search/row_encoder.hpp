// RowEncoder: writes vectors as an index keeps them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/search/centroids.hpp>
#include <nibble/search/index_parameters.hpp>
#include <nibble/search/rabitq.hpp>
#include <nibble/search/sign_codes.hpp>

namespace nibble {

/// Bytes that a row takes in each of the parts of an index, but for its id.
struct RowBytes {
  Index code = 0, correction = 0, vector = 0;
};

/// Writes vectors as an index keeps them. Immutable; any number of threads may use it, each with
/// scratch of its own.
class RowEncoder {
 public:
  /// Scratch memory, to be used again.
  struct Scratch {
    RaBitQ::Scratch rabitq;
    std::vector<float> rotated;
  };

  /// Throws Error where the parameters do not fit each other.
  explicit RowEncoder(IndexParameters parameters) : parameters_(std::move(parameters)) {
    const IndexParameters& p = parameters_;
    if (p.dims < 1 || p.dims > RaBitQ::max_dims) {
      fail("index: ", p.dims, " dimensions, expected 1 to ", RaBitQ::max_dims);
    }
    if (p.code_bits < 0 || p.code_bits > max_code_bits) {
      fail("index: codes of ", p.code_bits, " bits, expected 0 to ", max_code_bits);
    }
    const auto expect = [&](const char* what, const std::vector<float>& values, Index vectors) {
      const Index expected = vectors * p.dims;
      if (static_cast<Index>(values.size()) != expected) {
        fail("index: ", what, " of ", values.size(), " numbers, expected ", expected);
      }
      for (const float value : values) {
        if (!std::isfinite(value)) fail("index: ", what, ": is not finite");
      }
    };
    expect("centre", p.centre, p.code_bits > 0 ? 1 : 0);
    expect("centroids", p.centroids, p.lists());
    if (p.lists() > max_lists) fail("index: ", p.lists(), " lists, expected up to ", max_lists);
    if (p.code_bits > 0) rabitq_.emplace(p.centre, p.code_bits, p.seed);
    if (p.lists() > 0) centroids_.emplace(p.centroids.data(), p.lists(), p.dims);
  }
  RowEncoder(const RowEncoder&) = delete;
  RowEncoder& operator=(const RowEncoder&) = delete;
  RowEncoder(RowEncoder&&) noexcept = default;
  RowEncoder& operator=(RowEncoder&&) noexcept = default;

  [[nodiscard]] const IndexParameters& parameters() const noexcept { return parameters_; }
  /// Null with plain sign bits.
  [[nodiscard]] const RaBitQ* rabitq() const noexcept { return rabitq_ ? &*rabitq_ : nullptr; }

  /// Of the lists; null without any.
  [[nodiscard]] const Centroids* centroids() const noexcept {
    return centroids_ ? &*centroids_ : nullptr;
  }

  /// Makes of a vector, [dims], in place what is compared with centroids.
  void turn(std::span<float> vector) const noexcept {
    if (rabitq_) rabitq_->rotate(vector);
  }

  [[nodiscard]] RowBytes row_bytes() const noexcept {
    const Index dims = parameters_.dims;
    RowBytes bytes;
    bytes.code = code_bytes(dims, std::max(parameters_.code_bits, 1));
    bytes.correction = rabitq_ ? static_cast<Index>(sizeof(RaBitQCorrection)) : 0;
    if (parameters_.kept == KeptVectors::Int8) {
      bytes.vector = static_cast<Index>(sizeof(float)) + dims;
    }
    if (parameters_.kept == KeptVectors::Float32) {
      bytes.vector = dims * static_cast<Index>(sizeof(float));
    }
    return bytes;
  }

  /// Writes a vector, [dims], of a list; without lists, any number will do. What is not kept is not
  /// written to. Throws Error where it is not finite.
  void encode(std::span<const float> vector, Index list, std::uint8_t* code,
              RaBitQCorrection* correction, std::byte* kept, Scratch& scratch) const {
    for (const float value : vector) {
      if (!std::isfinite(value)) fail("a vector is not finite");
    }
    if (rabitq_ && centroids_) {
      scratch.rotated.assign(vector.begin(), vector.end());
      rabitq_->rotate(scratch.rotated);
      *correction =
          rabitq_->encode_rotated(scratch.rotated, (*centroids_)[list], parameters_.code_bits,
                                  StepChoice::Best, code, scratch.rabitq);
    } else if (rabitq_) {
      *correction = rabitq_->encode(vector, code, scratch.rabitq);
    } else {
      pack_signs(vector, code);
    }
    if (parameters_.kept == KeptVectors::Float32) {
      std::memcpy(kept, vector.data(), vector.size_bytes());
    } else if (parameters_.kept == KeptVectors::Int8) {
      encode_int8(vector, kept);
    }
  }

 private:
  /// float32 scale, then int8 levels [dims]: the nearest to value / scale, ties to even.
  static void encode_int8(std::span<const float> vector, std::byte* kept) noexcept {
    float largest = 0;
    for (const float value : vector) largest = std::max(largest, std::abs(value));
    const float scale = largest / 127;
    std::memcpy(kept, &scale, sizeof scale);
    kept += sizeof scale;
    for (std::size_t i = 0; i < vector.size(); ++i) {
      const float place = scale > 0 ? std::clamp(vector[i] / scale, -127.0F, 127.0F) : 0.0F;
      kept[i] = static_cast<std::byte>(static_cast<std::int8_t>(std::nearbyint(place)));
    }
  }

  IndexParameters parameters_;
  std::optional<RaBitQ> rabitq_;
  std::optional<Centroids> centroids_;  // of parameters_
};

}  // namespace nibble
