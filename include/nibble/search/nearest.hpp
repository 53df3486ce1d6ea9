// The best few of many: candidates by score, the best first, ties by id.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace nibble {

/// A row that was found. The higher the score, the nearer.
struct Neighbour {
  std::uint64_t id = 0;
  float score = 0;
  std::int64_t row = 0;  // its place among all rows that were searched

  friend bool operator==(const Neighbour&, const Neighbour&) = default;
};

/// Whether `a` comes before `b`: by score, and of equal scores by the lower id.
[[nodiscard]] constexpr bool is_nearer(const Neighbour& a, const Neighbour& b) noexcept {
  return a.score != b.score ? a.score > b.score : a.id < b.id;
}

/// Keeps the nearest of the candidates that it is shown. Which those are depends on neither their
/// order nor on how they are split over several Nearest whose results are added up.
class Nearest {
 public:
  explicit Nearest(std::size_t count) : count_(count) {}

  /// The least score that may still get in.
  [[nodiscard]] float threshold() const noexcept {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    if (heap_.size() < count_) return -infinity;
    return count_ > 0 ? heap_.front().score : infinity;
  }

  /// A score that is not a number never gets in.
  void add(const Neighbour& candidate) {
    if (std::isnan(candidate.score)) return;
    if (heap_.size() < count_) {
      heap_.push_back(candidate);
      std::ranges::push_heap(heap_, is_nearer);
    } else if (count_ > 0 && is_nearer(candidate, heap_.front())) {
      std::ranges::pop_heap(heap_, is_nearer);
      heap_.back() = candidate;
      std::ranges::push_heap(heap_, is_nearer);
    }
  }

  /// What was kept, in no order.
  [[nodiscard]] std::span<const Neighbour> kept() const noexcept { return heap_; }

  /// What was kept, the nearest first.
  [[nodiscard]] std::vector<Neighbour> take() && {
    std::ranges::sort(heap_, is_nearer);
    return std::move(heap_);
  }

 private:
  std::size_t count_;
  std::vector<Neighbour> heap_;  // the farthest in front
};

}  // namespace nibble
