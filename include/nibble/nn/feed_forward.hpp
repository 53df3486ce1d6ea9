// The gated feed-forward layer: down(silu(gate(x)) * up(x)).
#pragma once

#include <cstddef>
#include <utility>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/nn/linear.hpp>

namespace nibble {

/// Source: Shazeer, "GLU Variants Improve Transformer" (2020), SwiGLU.
class FeedForward {
 public:
  /// Memory of a forward pass, kept from call to call.
  struct Scratch {
    AlignedBuffer gate;  // [tokens][intermediate]
    AlignedBuffer up;    // [tokens][intermediate]
    LinearInput hidden_input;
  };

  /// Throws Error where their sizes do not go together.
  FeedForward(Linear gate_proj, Linear up_proj, Linear down_proj)
      : gate_proj_(std::move(gate_proj)),
        up_proj_(std::move(up_proj)),
        down_proj_(std::move(down_proj)) {
    up_proj_.require("up_proj", gate_proj_.outputs(), gate_proj_.inputs());
    down_proj_.require("down_proj", gate_proj_.inputs(), gate_proj_.outputs());
  }

  [[nodiscard]] const Linear& gate_proj() const noexcept { return gate_proj_; }
  [[nodiscard]] const Linear& up_proj() const noexcept { return up_proj_; }
  [[nodiscard]] const Linear& down_proj() const noexcept { return down_proj_; }

  /// Writes [tokens][hidden] to `output`.
  void forward(LinearInput& input, const Execution& execution, Scratch& scratch,
               float* output) const {
    const Index tokens = input.tokens();
    const Index width = gate_proj_.outputs();
    float* gate = scratch.gate.make_room<float>(tokens * width);
    activate(input, execution, scratch, gate);
    scratch.hidden_input.assign(gate, tokens, width, width);
    down_proj_.forward(scratch.hidden_input, execution, output, down_proj_.outputs());
  }

  /// `forward` up to the inputs of down_proj: silu(gate(x)) * up(x), [tokens][intermediate].
  void activate(LinearInput& input, const Execution& execution, Scratch& scratch,
                float* gate) const {
    const Index tokens = input.tokens();
    const Index width = gate_proj_.outputs();
    float* up = scratch.up.make_room<float>(tokens * width);
    gate_proj_.forward(input, execution, gate, width);
    up_proj_.forward(input, execution, up, width);
    execution.for_each_token(tokens, 1, [&](Index token) {
      execution.kernels.silu_multiply(gate + token * width, up + token * width, width);
    });
  }

 private:
  Linear gate_proj_;
  Linear up_proj_;
  Linear down_proj_;
};

}  // namespace nibble
