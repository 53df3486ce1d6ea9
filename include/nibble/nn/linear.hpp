// A linear layer over weights of any format, and the inputs that several of them share.
#pragma once

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>
#include <utility>
#include <vector>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/format/any_matrix.hpp>
#include <nibble/nn/execution.hpp>

namespace nibble {

/// Inputs of one or more Linears, packed once for each kind of activation that they ask for. Keeps
/// its memory from use to use.
class LinearInput {
 public:
  /// New inputs: [tokens][cols], valid until the next call; rows are `stride` floats apart.
  void assign(const float* inputs, Index tokens, Index cols, Index stride) noexcept {
    inputs_ = inputs;
    tokens_ = tokens;
    cols_ = cols;
    stride_ = stride;
    packed_kinds_.fill(false);
  }

  [[nodiscard]] Index tokens() const noexcept { return tokens_; }
  [[nodiscard]] Index cols() const noexcept { return cols_; }

  /// The inputs packed as this kind.
  [[nodiscard]] const PackedActivations& packed(Activations kind, const Execution& execution) {
    const auto k = static_cast<std::size_t>(kind);
    if (!packed_kinds_[k]) {
      packed_[k] = buffers_[k].prepare(kind, tokens_, cols_, execution.kernels.tile_width[k]);
      execution.pool.run(packed_[k].tiles(), [&](Index tile, int) {
        execution.kernels.pack_activations(inputs_, stride_, packed_[k], tile);
      });
      packed_kinds_[k] = true;
    }
    return packed_[k];
  }

 private:
  const float* inputs_ = nullptr;
  Index tokens_ = 0;
  Index cols_ = 0;
  Index stride_ = 0;
  std::array<ActivationBuffer, activation_kinds> buffers_;
  std::array<PackedActivations, activation_kinds> packed_;
  std::array<bool, activation_kinds> packed_kinds_{};
};

/// output = input * weight^T + bias.
class Linear {
 public:
  /// `weight` is [outputs][inputs]; `bias` [outputs] or empty. Throws Error where they differ.
  explicit Linear(AnyMatrix weight, std::vector<float> bias = {})
      : weight_(std::move(weight)), bias_(std::move(bias)) {
    if (!bias_.empty() && static_cast<Index>(bias_.size()) != weight_.rows()) {
      fail("a bias of ", bias_.size(), " numbers for ", weight_.rows(), " outputs");
    }
  }

  [[nodiscard]] Index inputs() const noexcept { return weight_.cols(); }
  [[nodiscard]] Index outputs() const noexcept { return weight_.rows(); }
  [[nodiscard]] const AnyMatrix& weight() const noexcept { return weight_; }
  [[nodiscard]] const std::vector<float>& bias() const noexcept { return bias_; }

  /// Throws Error, with the layer's own name for it, unless it has these sizes.
  void require(const char* name, Index rows, Index cols) const {
    if (outputs() != rows || inputs() != cols) {
      fail(name, " is [", outputs(), "][", inputs(), "], expected [", rows, "][", cols, "]");
    }
  }

  /// Writes [tokens][outputs()] to `output`, whose rows are `stride` floats apart. The work is
  /// split over outputs and tokens, never over inputs, so the bits do not depend on the number of
  /// threads.
  void forward(LinearInput& input, const Execution& execution, float* output, Index stride) const {
    assert(input.cols() == inputs() && stride >= outputs());
    if (input.tokens() == 0) return;
    const Activations kind = execution.kind_for(weight_.format_index());
    const PackedActivations& packed = input.packed(kind, execution);
    const auto matmul =
        execution.kernels.matmul[weight_.format_index()][static_cast<std::size_t>(kind)];
    const PanelView& view = weight_.view();

    const Split split = split_work(view, packed, execution.pool.size());
    execution.pool.run(split.panel_runs * split.tile_runs, [&](Index run, int) {
      const Index first_panel = run / split.tile_runs * split.panels;
      const Index end_panel = std::min(view.panels(), first_panel + split.panels);
      const Index first_tile = run % split.tile_runs * split.tiles;
      const Index end_tile = std::min(packed.tiles(), first_tile + split.tiles);
      matmul({view, packed, output, stride, first_panel, end_panel, first_tile, end_tile});
      if (bias_.empty()) return;
      const Index row = first_panel * panel_rows;
      const Index rows = std::min(outputs(), end_panel * panel_rows) - row;
      const Index end_token = packed.first_token(end_tile - 1) + packed.tokens_in(end_tile - 1);
      for (Index token = packed.first_token(first_tile); token < end_token; ++token) {
        execution.kernels.add(output + token * stride + row, bias_.data() + row, rows);
      }
    });
  }

 private:
  /// Runs of `panels` panels times `tiles` tiles of tokens, of which the last ones may be shorter.
  struct Split {
    Index panels = 0;
    Index tiles = 0;
    Index panel_runs = 0;
    Index tile_runs = 0;
  };

  /// A few runs for every thread: of panels where there are enough of them, else of tokens too.
  static Split split_work(const PanelView& view, const PackedActivations& inputs, int threads) {
    // A run is worth a thread from 64 KB of codes and tiles of tokens together: a few microseconds.
    constexpr Index least_work = Index{64} << 10;
    const Index work = static_cast<Index>(view.layout.panel_bytes) * view.panels() * inputs.tiles();
    const Index wanted = std::clamp(work / least_work, Index{1}, Index{4} * threads);
    const Index runs = wanted == 1 ? 1 : round_up(wanted, Index{threads});
    const Index step = inputs.tokens == 1 ? Index{1} : Index{tile_panels};
    const Index steps = divide_up(view.panels(), step);
    Split split;
    split.panels = step * divide_up(steps, std::min(runs, steps));
    split.panel_runs = divide_up(view.panels(), split.panels);
    split.tiles = divide_up(inputs.tiles(), std::min(runs / split.panel_runs, inputs.tiles()));
    split.tile_runs = divide_up(inputs.tiles(), split.tiles);
    return split;
  }

  AnyMatrix weight_;
  std::vector<float> bias_;
};

}  // namespace nibble
