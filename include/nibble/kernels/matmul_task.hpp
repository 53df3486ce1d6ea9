// What a matmul kernel is given: some panels of the weights times some tiles of the inputs.
#pragma once

#include <nibble/format/panels.hpp>
#include <nibble/kernels/activations.hpp>

namespace nibble {

struct MatmulTask {
  PanelView weights;
  PackedActivations inputs;
  float* output = nullptr;  // [tokens][output_stride], the outputs of row r at column r
  Index output_stride = 0;
  Index first_panel = 0;
  Index end_panel = 0;
  Index first_tile = 0;
  Index end_tile = 0;
};

/// Inputs that are unpacked at a time: 16 KB as floats, and whole groups of every group size.
inline constexpr Index block_inputs = 256;
/// Panels that matrix registers may multiply together: tasks of several tokens best have multiples.
inline constexpr int tile_panels = 4;
/// Tokens whose running sums are kept at a time.
inline constexpr Index block_tokens = 256;

}  // namespace nibble
