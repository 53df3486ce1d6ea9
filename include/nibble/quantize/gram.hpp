// Sums of products of activations over tokens, X^T X and X^T Y: what calibration collects.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <cstring>
#include <vector>

#include <Eigen/Core>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/core/executor.hpp>
#include <nibble/kernels/kernel_table.hpp>

namespace nibble {

/// Which half of a Gram matrix is computed.
enum class GramKind {
  Symmetric,  // X^T X: one half, mirrored at the end
  Cross,      // X^T Y: all of it
};

/// Adds up X^T Y, [cols][cols], over blocks of tokens: float32 sums within a block, float64 sums of
/// blocks. Threads share out panels of 16 channels of X, never tokens, so the result has the same
/// bits for any number of threads.
///
/// The products are the library's matmul: a panel of "weights" is 16 channels of X, its inputs are
/// the tokens of the block, and each channel of Y is what a token is elsewhere.
class Gram {
 public:
  /// Tokens that are summed in float32.
  static constexpr Index block_tokens = 1024;

  /// `kernels` outlives the object.
  Gram(GramKind kind, Index cols, const KernelTable& kernels)
      : kind_(kind), cols_(cols), kernels_(&kernels) {
    for (Index panel = 0; panel <= panels(); ++panel) {
      offsets_.push_back(panel == 0 ? 0 : offsets_.back() + width(panel - 1) * panel_rows);
    }
    sums_ = AlignedBuffer(static_cast<std::size_t>(offsets_.back()) * sizeof(double));
  }

  [[nodiscard]] Index tokens() const noexcept { return tokens_; }

  /// Adds X^T X for x, [tokens][cols].
  void add(const float* x, Index tokens, ExecutorRef pool) { add(x, x, tokens, pool); }

  /// Adds X^T Y for x and y, [tokens][cols] each; Symmetric: the same array.
  void add(const float* x, const float* y, Index tokens, ExecutorRef pool) {
    assert(kind_ == GramKind::Cross || x == y);
    for (Index first = 0; first < tokens; first += block_tokens) {
      const Index count = std::min(block_tokens, tokens - first);
      add_block(x + first * cols_, y + first * cols_, count, pool);
    }
    tokens_ += tokens;
  }

  /// The sums, [channel of X][channel of Y], both halves; the object is then empty.
  [[nodiscard]] Eigen::MatrixXd finish() && {
    Eigen::MatrixXd matrix(cols_, cols_);
    const double* sums = sums_.as<double>();
    for (Index row = 0; row < cols_; ++row) {
      const Index panel = row / panel_rows;
      const double* lane = sums + offsets_[static_cast<std::size_t>(panel)] + row % panel_rows;
      const Index count = kind_ == GramKind::Symmetric ? row + 1 : cols_;
      for (Index col = 0; col < count; ++col) {
        matrix(row, col) = lane[col * panel_rows];
        if (kind_ == GramKind::Symmetric) matrix(col, row) = lane[col * panel_rows];
      }
    }
    *this = Gram(kind_, 0, *kernels_);
    return matrix;
  }

 private:
  static constexpr auto kind_of_inputs = static_cast<std::size_t>(Activations::Float);
  static constexpr auto format = Formats::index_of<Float32Format>;

  [[nodiscard]] Index panels() const noexcept { return divide_up(cols_, panel_rows); }
  /// Channels of Y that a panel is multiplied with.
  [[nodiscard]] Index width(Index panel) const noexcept {
    return kind_ == GramKind::Symmetric ? std::min(cols_, (panel + 1) * panel_rows) : cols_;
  }

  void add_block(const float* x, const float* y, Index tokens, ExecutorRef pool) {
    const PanelLayout layout = Float32Format{}.layout(tokens);
    std::byte* weights =
        panels_.make_room<std::byte>(static_cast<Index>(layout.panel_bytes) * panels());
    const Index tile_width = kernels_->tile_width[kind_of_inputs];
    const PackedActivations inputs = inputs_.prepare(Activations::Float, cols_, tokens, tile_width);
    float* scratch = products_.make_room<float>(pool.size() * cols_ * panel_rows);

    pool.run(panels(), [&](Index panel, int) {
      pack_panel(x, tokens, panel, weights + static_cast<std::size_t>(panel) * layout.panel_bytes);
    });
    pool.run(inputs.tiles(), [&](Index tile, int) { pack_tile(y, inputs, tile); });
    pool.run(panels(), [&](Index task, int worker) {
      const Index panel = panels() - 1 - task;  // the longest first, so that threads end together
      const Index first = panel * panel_rows;
      const PanelView view{weights + static_cast<std::size_t>(panel) * layout.panel_bytes,
                           std::min(panel_rows, cols_ - first), tokens, layout};
      float* products = scratch + worker * cols_ * panel_rows;
      kernels_->matmul[format][kind_of_inputs](
          {view, inputs, products, panel_rows, 0, 1, 0, divide_up(width(panel), tile_width)});
      double* sums = sums_.as<double>() + offsets_[static_cast<std::size_t>(panel)];
      for (Index i = 0; i < width(panel) * panel_rows; ++i) sums[i] += products[i];
    });
  }

  /// Sixteen channels of x as a panel of float32 weights: [tokens][16].
  void pack_panel(const float* x, Index tokens, Index panel, std::byte* out) const noexcept {
    const Index first = panel * panel_rows;
    const Index count = std::min(panel_rows, cols_ - first);
    auto* place = reinterpret_cast<float*>(out);
    for (Index token = 0; token < tokens; ++token, place += panel_rows) {
      std::copy_n(x + token * cols_ + first, count, place);
      std::fill(place + count, place + panel_rows, 0.0F);
    }
  }

  /// A few channels of y as a tile of float inputs: [tokens / 16][width][16].
  void pack_tile(const float* y, const PackedActivations& inputs, Index tile) const noexcept {
    constexpr Index run = run_bytes / static_cast<Index>(sizeof(float));
    const Index tile_width = inputs.width_of(tile);
    const Index channels = inputs.tokens_in(tile);
    const float* column = y + inputs.first_token(tile);
    float* place = inputs.tile_inputs<float>(tile);
    std::fill_n(place, inputs.padded_cols() * tile_width, 0.0F);
    for (Index token = 0; token < inputs.cols; ++token, column += cols_) {
      float* out = place + token / run * run * tile_width + token % run;
      for (Index channel = 0; channel < channels; ++channel) out[channel * run] = column[channel];
    }
  }

  GramKind kind_;
  Index cols_;
  const KernelTable* kernels_;
  Index tokens_ = 0;
  std::vector<Index> offsets_;  // of each panel's sums
  AlignedBuffer sums_;          // float64: for each panel [width(panel)][16]
  AlignedBuffer panels_;        // of x
  ActivationBuffer inputs_;     // of y
  AlignedBuffer products_;      // of each thread: [cols][16]
};

}  // namespace nibble
