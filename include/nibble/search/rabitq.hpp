// RaBitQ: codes of 1 to 8 bits per dimension whose inner products are estimated without bias.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <Eigen/Core>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/core/error.hpp>
#include <nibble/kernels/code_scores.hpp>
#include <nibble/kernels/hamming.hpp>
#include <nibble/search/odd_levels.hpp>
#include <nibble/search/random_rotation.hpp>
#include <nibble/search/sign_codes.hpp>

namespace nibble {

/// A query made ready to meet codes.
struct RaBitQQuery {
  AlignedBuffer code;  // as codes, of as many bits as it was made with
  int bits = 0;
  float scale = 0;           // as RaBitQCorrection's
  float centre_product = 0;  // <centre, query>

  [[nodiscard]] const std::uint8_t* data() const noexcept {
    return reinterpret_cast<const std::uint8_t*>(code.data());
  }
};

/// The quantizer: vectors are taken relative to a centre, rotated at random and encoded by
/// `encode_odd_levels`. With o a vector and q a query relative to the centre m, and c the code of
/// o, the estimate of <q, o> is <q, c> |o|^2 / <c, o>, whose expectation over the rotation is <q,
/// o>; its error falls with the root of the number of dimensions, and by half with each bit. The
/// inner product of query and vector is that, <m, q + m> and <m, o>. Queries are encoded in the
/// same way, mostly with more bits, so that products of codes are Hamming distances
/// (`hamming_distances`). Source: Gao and Long, "RaBitQ" (2024), sections 3.1 and 3.2, where
/// queries are rounded at random instead; for more than one bit, see `encode_odd_levels`.
///
/// Immutable; any number of threads may use it, each with scratch of its own.
class RaBitQ {
 public:
  /// Most dimensions: those that `hamming_distances` takes.
  static constexpr Index max_dims = 8 * max_plane_bytes;

  /// Scratch memory, to be used again.
  struct Scratch {
    std::vector<float> relative;  // to the centre, rotated
    OddLevelScratch levels;
  };

  /// The centre is mostly the mean of the vectors, [dims]. Throws Error where it is not finite, or
  /// dims not in 1..max_dims, or bits not in 1..8.
  RaBitQ(std::vector<float> centre, int bits, std::uint64_t seed)
      : centre_(std::move(centre)),
        rotation_(static_cast<Index>(centre_.size()), seed),
        bits_(bits) {
    if (dims() < 1 || dims() > max_dims) {
      fail("RaBitQ: ", dims(), " dimensions, expected 1 to ", max_dims);
    }
    check_code_bits("RaBitQ", bits);
    if (!view(centre_).allFinite()) fail("RaBitQ: the centre is not finite");
  }

  [[nodiscard]] Index dims() const noexcept { return static_cast<Index>(centre_.size()); }
  [[nodiscard]] int bits() const noexcept { return bits_; }
  [[nodiscard]] std::span<const float> centre() const noexcept { return centre_; }

  /// Bytes of one code.
  [[nodiscard]] Index code_bytes() const noexcept { return nibble::code_bytes(dims(), bits_); }

  /// Writes the code of a vector, [dims()], to code[code_bytes()]. Throws Error where the vector,
  /// or its squared length relative to the centre, is not finite.
  [[nodiscard]] RaBitQCorrection encode(std::span<const float> vector, std::uint8_t* code,
                                        Scratch& scratch) const {
    return encode(vector, bits_, code, scratch);
  }

  /// Rotates a vector, [dims()], in place.
  void rotate(std::span<float> vector) const noexcept { rotation_.apply(vector); }

  /// As `encode`, relative to another centre, vector and centre rotated before; codes of `bits`.
  [[nodiscard]] RaBitQCorrection encode_rotated(std::span<const float> vector,
                                                std::span<const float> centre, int bits,
                                                StepChoice choice, std::uint8_t* code,
                                                Scratch& scratch) const {
    check_size(vector);
    return finish(subtract(vector, centre, scratch.relative), bits, choice, code, scratch);
  }

  /// Makes a query, [dims()], ready, in codes of `bits`. Throws Error as `encode`, and for bits not
  /// in 1..8.
  [[nodiscard]] RaBitQQuery encode_query(std::span<const float> query, int bits) const {
    check_code_bits("query", bits);
    RaBitQQuery result;
    result.bits = bits;
    result.code = AlignedBuffer(static_cast<std::size_t>(nibble::code_bytes(dims(), bits)));
    Scratch scratch;
    const RaBitQCorrection correction =
        encode(query, bits, result.code.as<std::uint8_t>(), scratch);
    result.scale = correction.scale;
    result.centre_product = view(query).dot(view(centre_));
    return result;
  }

  /// The estimate of <query, vector>, from the distance of their codes.
  [[nodiscard]] float inner_product(const RaBitQQuery& query, const RaBitQCorrection& row,
                                    std::int32_t distance) const noexcept {
    const std::int32_t most = largest_code_product(dims(), bits_, query.bits);
    const auto product = static_cast<float>((most - distance) - distance);
    return query.centre_product + row.centre_product + query.scale * row.scale * product;
  }

 private:
  [[nodiscard]] static Eigen::Map<const Eigen::VectorXf> view(std::span<const float> vector) {
    return {vector.data(), static_cast<Index>(vector.size())};
  }

  void check_size(std::span<const float> vector) const {
    if (vector.size() == centre_.size()) return;
    fail("a vector of ", vector.size(), " dimensions, expected ", dims());
  }

  [[nodiscard]] RaBitQCorrection encode(std::span<const float> vector, int bits, std::uint8_t* code,
                                        Scratch& scratch) const {
    check_size(vector);
    const Relative relative = subtract(vector, centre_, scratch.relative);
    rotation_.apply(scratch.relative);
    return finish(relative, bits, StepChoice::Best, code, scratch);
  }

  /// What rotations leave as it is of a vector relative to a centre.
  struct Relative {
    float squared_norm = 0;
    float centre_product = 0;
  };

  [[nodiscard]] static Relative subtract(std::span<const float> vector,
                                         std::span<const float> centre,
                                         std::vector<float>& difference) {
    difference.resize(vector.size());
    double squared_norm = 0, centre_product = 0;
    for (std::size_t i = 0; i < vector.size(); ++i) {
      const float relative = vector[i] - centre[i];
      difference[i] = relative;
      squared_norm += static_cast<double>(relative) * relative;
      centre_product += static_cast<double>(relative) * centre[i];
    }
    const Relative result{static_cast<float>(squared_norm), static_cast<float>(centre_product)};
    if (!std::isfinite(result.squared_norm) || !std::isfinite(result.centre_product)) {
      fail("a vector is not finite, or too long for float32");
    }
    return result;
  }

  [[nodiscard]] static RaBitQCorrection finish(const Relative& relative, int bits,
                                               StepChoice choice, std::uint8_t* code,
                                               Scratch& scratch) {
    const float product = encode_odd_levels(scratch.relative, bits, code, scratch.levels, choice);
    return {product > 0 ? relative.squared_norm / product : 0.0F, relative.centre_product};
  }

  std::vector<float> centre_;
  RandomRotation rotation_;
  int bits_;
};

}  // namespace nibble
