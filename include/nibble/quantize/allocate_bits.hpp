// Shares out a number of bytes among matrices so that as little as possible is lost.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <nibble/core/error.hpp>

namespace nibble {

/// What a matrix takes and loses in one format. Losses of matrices add up.
struct FormatCost {
  std::uint64_t bytes = 0;
  double loss = 0;
};

namespace allocate_bits_detail {

/// The corners of the lower convex hull of a matrix's costs, from the fewest bytes to the least
/// loss: indices. Each corner gains less for a byte than the one before.
[[nodiscard]] inline std::vector<std::size_t> lower_hull(std::span<const FormatCost> costs) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < costs.size(); ++i) {
    if (std::isfinite(costs[i].loss)) order.push_back(i);
  }
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) {
    return costs[a].bytes != costs[b].bytes ? costs[a].bytes < costs[b].bytes
                                            : costs[a].loss < costs[b].loss;
  });
  std::vector<std::size_t> hull;
  for (const std::size_t next : order) {
    if (!hull.empty() && costs[next].loss >= costs[hull.back()].loss) continue;
    while (hull.size() >= 2) {
      const FormatCost& first = costs[hull[hull.size() - 2]];
      const FormatCost& middle = costs[hull.back()];
      const FormatCost& last = costs[next];
      const double before =
          (first.loss - middle.loss) * static_cast<double>(last.bytes - middle.bytes);
      const double after =
          (middle.loss - last.loss) * static_cast<double>(middle.bytes - first.bytes);
      if (before > after) break;
      hull.pop_back();
    }
    hull.push_back(next);
  }
  return hull;
}

}  // namespace allocate_bits_detail

/// For each matrix, given its costs in one format after the other (at least one), the format that
/// it gets, none of infinite loss: all together take `budget` bytes at most. The multiple-choice
/// knapsack problem by Lagrangian relaxation: every matrix starts with the fewest bytes, and
/// whatever gains most for a byte comes next, along the lower convex hulls; in the end what is left
/// of the budget is spent on single steps that still fit. The result is at most one step of one
/// matrix off the optimum. Throws Error where even the fewest bytes are too many, or a matrix has
/// only infinite losses.
///
/// Source: Shoham and Gersho, "Efficient bit allocation for an arbitrary set of quantizers" (1988).
[[nodiscard]] inline std::vector<std::size_t> allocate_bits(
    std::span<const std::vector<FormatCost>> matrices, std::uint64_t budget) {
  std::vector<std::vector<std::size_t>> hulls;
  std::vector<std::size_t> choice;
  std::uint64_t used = 0;
  for (const std::vector<FormatCost>& costs : matrices) {
    hulls.push_back(allocate_bits_detail::lower_hull(costs));
    if (hulls.back().empty()) fail("matrix ", choice.size(), " has no format of finite loss");
    choice.push_back(hulls.back().front());
    used += costs[choice.back()].bytes;
  }
  if (used > budget) {
    fail("a budget of ", budget, " bytes is too small: the smallest formats take ", used);
  }

  struct Step {
    std::size_t matrix;
    std::size_t format;
    std::uint64_t bytes;
    double gain;  // for a byte
  };
  std::vector<Step> steps;
  for (std::size_t m = 0; m < matrices.size(); ++m) {
    for (std::size_t corner = 1; corner < hulls[m].size(); ++corner) {
      const FormatCost& from = matrices[m][hulls[m][corner - 1]];
      const FormatCost& to = matrices[m][hulls[m][corner]];
      const std::uint64_t bytes = to.bytes - from.bytes;
      steps.push_back(
          {m, hulls[m][corner], bytes, (from.loss - to.loss) / static_cast<double>(bytes)});
    }
  }
  std::ranges::stable_sort(steps, [](const Step& a, const Step& b) { return a.gain > b.gain; });
  for (const Step& step : steps) {
    // What comes later would leave out a step that gains more.
    if (step.bytes > budget - used) break;
    used += step.bytes;
    choice[step.matrix] = step.format;
  }

  for (;;) {
    double most = 0;
    std::optional<std::size_t> matrix;
    std::size_t format = 0;
    for (std::size_t m = 0; m < matrices.size(); ++m) {
      const FormatCost& now = matrices[m][choice[m]];
      for (std::size_t f = 0; f < matrices[m].size(); ++f) {
        const FormatCost& other = matrices[m][f];
        if (other.bytes > now.bytes + (budget - used) || !(now.loss - other.loss > most)) continue;
        most = now.loss - other.loss;
        matrix = m;
        format = f;
      }
    }
    if (!matrix) return choice;
    used = used - matrices[*matrix][choice[*matrix]].bytes + matrices[*matrix][format].bytes;
    choice[*matrix] = format;
  }
}

}  // namespace nibble
