// The inputs of a matmul as kernels read them: tiles of a few tokens in runs of 64 bytes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/core/checked.hpp>

namespace nibble {

/// In what precision a matmul takes its inputs.
enum class Activations {
  Float,     // float32, the weights' value times the input's
  BFloat16,  // rounded to bfloat16, multiplied in pairs and summed as float32
  Int8,      // symmetric int8 per token and 128 inputs, multiplied as integers
};
inline constexpr std::array<std::string_view, 3> activations_names{"float", "bfloat16", "int8"};
inline constexpr std::size_t activation_kinds = activations_names.size();

[[nodiscard]] constexpr std::string_view activations_name(Activations kind) noexcept {
  return activations_names[static_cast<std::size_t>(kind)];
}

/// Inputs that share a scale where activations are int8.
inline constexpr Index activation_group = 128;
/// The least number of inputs whose sum is kept for formats with offsets; sums of twice and four
/// times as many are kept as well, one for each group size that weights may have.
inline constexpr Index activation_block = 32;
/// Inputs are padded with zeros to a multiple of this.
inline constexpr Index activation_padding = 64;
/// Inputs of a token that lie side by side: a cache line, and the row of an AMX tile.
inline constexpr Index run_bytes = 64;

/// Packed inputs of `tokens` tokens. A tile holds `tile_width` tokens; the last one may be narrower
/// (width_of), its missing tokens zero.
struct PackedActivations {
  Activations kind = Activations::Float;
  Index tokens = 0;
  Index cols = 0;
  Index tile_width = 1;         // a power of two
  std::byte* inputs = nullptr;  // [tile][runs()][width][64 bytes]
  float* scales = nullptr;      // Int8: [tile][scale_groups()][width]
  // Int8: [tile][sum_rows()][width], sums of the codes: of each 32 inputs, of each 64, of each 128
  float* sums = nullptr;

  [[nodiscard]] Index input_bytes() const noexcept {
    return kind == Activations::Int8 ? 1 : kind == Activations::BFloat16 ? 2 : 4;
  }
  [[nodiscard]] Index padded_cols() const noexcept { return round_up(cols, activation_padding); }
  [[nodiscard]] Index runs() const noexcept { return padded_cols() * input_bytes() / run_bytes; }
  [[nodiscard]] Index scale_groups() const noexcept { return divide_up(cols, activation_group); }
  [[nodiscard]] Index sum_rows() const noexcept { return first_sum_row(2 * activation_group); }
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

  /// [runs()][width][64 / sizeof(T)]
  template <class T>
  [[nodiscard]] T* tile_inputs(Index tile) const noexcept {
    return reinterpret_cast<T*>(inputs + first_token(tile) * runs() * run_bytes);
  }
  /// [scale_groups()][width]
  [[nodiscard]] float* tile_scales(Index tile) const noexcept {
    return scales + first_token(tile) * scale_groups();
  }
  /// Sums of each `size` codes, 32, 64 or 128: [divide_up(cols, size)][width]
  [[nodiscard]] float* tile_sums(Index tile, Index size) const noexcept {
    return sums + first_token(tile) * sum_rows() + first_sum_row(size) * width_of(tile);
  }

 private:
  [[nodiscard]] Index first_sum_row(Index size) const noexcept {
    Index row = 0;
    for (Index s = activation_block; s < size; s *= 2) row += divide_up(cols, s);
    return row;
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
    const Index padded_tokens = round_up(tokens, tile_width);
    packed.inputs = inputs_.make_room<std::byte>(padded_tokens * packed.runs() * run_bytes);
    if (kind == Activations::Int8) {
      packed.scales = scales_.make_room<float>(padded_tokens * packed.scale_groups());
      packed.sums = sums_.make_room<float>(padded_tokens * packed.sum_rows());
    }
    return packed;
  }

 private:
  AlignedBuffer inputs_;
  AlignedBuffer scales_;
  AlignedBuffer sums_;
};

}  // namespace nibble
