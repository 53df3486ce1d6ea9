// Sums of products of activations over tokens, X^T X and X^T Y: what calibration collects.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
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
/// blocks. Threads share out tiles of channels, never tokens, so the result has the same bits for
/// any number of threads.
class Gram {
 public:
  /// Tokens that are summed in float32.
  static constexpr Index block_tokens = 1024;

  /// `kernels` outlives the object.
  Gram(GramKind kind, Index cols, const KernelTable& kernels)
      : kind_(kind), cols_(cols), width_(kernels.gram_width), kernels_(&kernels) {
    // As many tiles of Y as stay in the second-level cache while the panels of X go by.
    constexpr Index run_numbers = Index{1} << 18;
    const Index run = std::max(Index{1}, run_numbers / (width_ * block_tokens));
    Index sums = 0;
    for (Index first = 0; first < tiles(); first += run) {
      for (Index panel = first_panel(first); panel < panels(); ++panel) {
        Index end = std::min(first + run, tiles());
        while (first_panel(end - 1) > panel) --end;
        tasks_.push_back({panel, first, end, sums});
        sums += (end - first) * width_ * panel_rows;
      }
    }
    sums_ = AlignedBuffer(static_cast<std::size_t>(sums) * sizeof(double));
  }

  /// Adds X^T X for x, [tokens][cols].
  void add(const float* x, Index tokens, ExecutorRef pool) { add(x, x, tokens, pool); }

  /// Adds X^T Y for x and y, [tokens][cols] each; Symmetric: the same array.
  void add(const float* x, const float* y, Index tokens, ExecutorRef pool) {
    assert(kind_ == GramKind::Cross || x == y);
    for (Index first = 0; first < tokens; first += block_tokens) {
      const Index count = std::min(block_tokens, tokens - first);
      add_block(x + first * cols_, y + first * cols_, count, pool);
    }
  }

  /// The sums, [channel of X][channel of Y], both halves; the object is then empty.
  [[nodiscard]] Eigen::MatrixXd finish() && {
    using Tile = Eigen::Matrix<double, panel_rows, Eigen::Dynamic>;
    Eigen::MatrixXd matrix(cols_, cols_);
    for (const Task& task : tasks_) {
      const Index row = task.panel * panel_rows;
      const Index rows = std::min(panel_rows, cols_ - row);
      const Index col = task.first_tile * width_;
      const Index cols = std::min((task.end_tile - task.first_tile) * width_, cols_ - col);
      const auto part =
          Eigen::Map<const Tile>(sums_.as<double>() + task.sums, panel_rows, cols).topRows(rows);
      matrix.block(row, col, rows, cols) = part;
      if (kind_ == GramKind::Symmetric) matrix.block(col, row, cols, rows) = part.transpose();
    }
    *this = Gram(kind_, 0, *kernels_);
    return matrix;
  }

 private:
  /// A panel of sixteen channels of X and some tiles of channels of Y.
  struct Task {
    Index panel = 0;
    Index first_tile = 0;
    Index end_tile = 0;
    Index sums = 0;  // the place of its sums in sums_: [channel of Y][16]
  };

  [[nodiscard]] Index panels() const noexcept { return divide_up(cols_, panel_rows); }
  [[nodiscard]] Index tiles() const noexcept { return divide_up(cols_, width_); }
  /// The first panel that a tile is multiplied with.
  [[nodiscard]] Index first_panel(Index tile) const noexcept {
    return kind_ == GramKind::Symmetric ? tile * width_ / panel_rows : 0;
  }

  void add_block(const float* x, const float* y, Index tokens, ExecutorRef pool) {
    float* x_panels = panels_.make_room<float>(panels() * tokens * panel_rows);
    float* y_tiles = tiles_.make_room<float>(tiles() * tokens * width_);
    constexpr Index run = 32;
    pool.run(divide_up(tokens, run), [&](Index task, int) {
      const Index first = task * run;
      const Index end = std::min(tokens, first + run);
      pack(x, first, end, panel_rows, x_panels, tokens);
      pack(y, first, end, width_, y_tiles, tokens);
    });
    pool.run(static_cast<Index>(tasks_.size()), [&](Index index, int) {
      const Task& task = tasks_[static_cast<std::size_t>(index)];
      double* sums = sums_.as<double>() + task.sums;
      for (Index tile = task.first_tile; tile < task.end_tile; ++tile) {
        kernels_->gram_tile(x_panels + task.panel * tokens * panel_rows,
                            y_tiles + tile * tokens * width_, tokens, sums);
        sums += width_ * panel_rows;
      }
    });
  }

  /// Tokens [first, end) of x, [tokens][cols], in pieces of `width` channels:
  /// [piece][tokens][width], with zeros after the last channel.
  void pack(const float* x, Index first, Index end, Index width, float* out,
            Index tokens) const noexcept {
    for (Index channel = 0; channel < cols_; channel += width, out += tokens * width) {
      const Index count = std::min(width, cols_ - channel);
      for (Index token = first; token < end; ++token) {
        float* place = out + token * width;
        std::copy_n(x + token * cols_ + channel, count, place);
        std::fill(place + count, place + width, 0.0F);
      }
    }
  }

  GramKind kind_;
  Index cols_;
  Index width_;  // channels of Y in a tile
  const KernelTable* kernels_;
  std::vector<Task> tasks_;
  AlignedBuffer sums_;    // float64: of each task
  AlignedBuffer panels_;  // of x: [panels()][tokens][16]
  AlignedBuffer tiles_;   // of y: [tiles()][tokens][width_]
};

}  // namespace nibble
