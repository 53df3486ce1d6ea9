// The inputs of a matmul as kernels read them: tiles of a few tokens, inputs packed for broadcasts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/core/checked.hpp>

namespace nibble {

/// In what precision a matmul takes its inputs.
enum class Activations {
  Float,  // float32, the weights' value times the input's
  Int8,   // symmetric int8 per token and 128 inputs, multiplied as integers
};
inline constexpr std::size_t activation_kinds = 2;

[[nodiscard]] constexpr std::string_view activations_name(Activations kind) noexcept {
  return kind == Activations::Float ? "float" : "int8";
}

/// Inputs that share a scale where activations are int8.
inline constexpr Index activation_group = 128;
/// Inputs whose sum is kept for formats with offsets; it divides all group sizes.
inline constexpr Index activation_block = 32;

/// Packed inputs of tokens() tokens. A tile holds `tile_width` tokens; the last one may be
/// narrower (width_of), its missing tokens zero. Inputs are padded with zeros to a multiple of 32.
struct PackedActivations {
  Activations kind = Activations::Float;
  Index tokens = 0;
  Index cols = 0;
  Index tile_width = 1;          // a power of two
  float* values = nullptr;       // Float: [tile][padded_cols][width]
  std::int8_t* codes = nullptr;  // Int8: [tile][padded_cols / 4][width][4]
  float* scales = nullptr;       // Int8: [tile][scale_groups][width]
  std::int32_t* sums = nullptr;  // Int8: [tile][padded_cols / 32][width], of the codes

  [[nodiscard]] Index padded_cols() const noexcept { return round_up(cols, activation_block); }
  [[nodiscard]] Index blocks() const noexcept { return divide_up(cols, activation_block); }
  [[nodiscard]] Index scale_groups() const noexcept { return divide_up(cols, activation_group); }
  [[nodiscard]] Index tiles() const noexcept { return divide_up(tokens, tile_width); }
  [[nodiscard]] Index first_token(Index tile) const noexcept { return tile * tile_width; }
  [[nodiscard]] Index tokens_in(Index tile) const noexcept {
    const Index rest = tokens - first_token(tile);
    return rest < tile_width ? rest : tile_width;
  }
  /// The least power of two that holds the tile's tokens.
  [[nodiscard]] Index width_of(Index tile) const noexcept {
    Index width = 1;
    while (width < tokens_in(tile)) width *= 2;
    return width;
  }
  // All tiles but the last are full, so these hold for the last one too.
  [[nodiscard]] float* tile_values(Index tile) const noexcept {
    return values + first_token(tile) * padded_cols();
  }
  [[nodiscard]] std::int8_t* tile_codes(Index tile) const noexcept {
    return codes + first_token(tile) * padded_cols();
  }
  [[nodiscard]] float* tile_scales(Index tile) const noexcept {
    return scales + first_token(tile) * scale_groups();
  }
  [[nodiscard]] std::int32_t* tile_sums(Index tile) const noexcept {
    return sums + first_token(tile) * blocks();
  }
};

/// The memory behind PackedActivations, kept by the caller from call to call.
class ActivationBuffer {
 public:
  /// Room for `tokens` tokens of `cols` inputs; what was there before is lost.
  [[nodiscard]] PackedActivations prepare(Activations kind, Index tokens, Index cols,
                                          Index tile_width) {
    PackedActivations packed{
        .kind = kind, .tokens = tokens, .cols = cols, .tile_width = tile_width};
    const auto padded_tokens = static_cast<std::size_t>(round_up(tokens, tile_width));
    const auto inputs = padded_tokens * static_cast<std::size_t>(packed.padded_cols());
    if (kind == Activations::Float) {
      inputs_.reserve(inputs * sizeof(float));
      packed.values = inputs_.as<float>();
    } else {
      inputs_.reserve(inputs);
      scales_.reserve(padded_tokens * static_cast<std::size_t>(packed.scale_groups()) *
                      sizeof(float));
      sums_.reserve(padded_tokens * static_cast<std::size_t>(packed.blocks()) *
                    sizeof(std::int32_t));
      packed.codes = inputs_.as<std::int8_t>();
      packed.scales = scales_.as<float>();
      packed.sums = sums_.as<std::int32_t>();
    }
    return packed;
  }

 private:
  AlignedBuffer inputs_;
  AlignedBuffer scales_;
  AlignedBuffer sums_;
};

}  // namespace nibble
