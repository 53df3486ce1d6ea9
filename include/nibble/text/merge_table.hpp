// MergeTable: which pairs of tokens join, how early, and into what.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <nibble/core/token_id.hpp>

namespace nibble::text {

/// One merge: `left` and `right` become `merged`; a lower rank goes first.
struct Merge {
  TokenId left;
  TokenId right;
  TokenId merged;
  std::uint32_t rank;
};

/// Immutable. Sorted rather than hashed: the ids are the file's to choose, and no choice of them
/// makes this slow.
class MergeTable {
 public:
  MergeTable() = default;

  /// `merges` in the order of their ranks, ids in [0, size). Of a pair given twice the last counts.
  MergeTable(std::vector<Merge> merges, std::size_t size) : merges_(std::move(merges)) {
    std::sort(merges_.begin(), merges_.end(), [](const Merge& a, const Merge& b) {
      if (a.left != b.left) return a.left < b.left;
      return a.right != b.right ? a.right < b.right : a.rank > b.rank;
    });
    const auto same = [](const Merge& a, const Merge& b) {
      return a.left == b.left && a.right == b.right;
    };
    merges_.erase(std::unique(merges_.begin(), merges_.end(), same), merges_.end());
    starts_.assign(size + 1, 0);
    for (const Merge& merge : merges_) ++starts_[static_cast<std::size_t>(merge.left) + 1];
    for (std::size_t i = 0; i < size; ++i) starts_[i + 1] += starts_[i];
  }

  /// The merge of a pair, or nullptr; ids in [0, size).
  [[nodiscard]] const Merge* find(TokenId left, TokenId right) const noexcept {
    const auto row = static_cast<std::size_t>(left);
    const Merge* const last = merges_.data() + starts_[row + 1];
    const Merge* const place =
        std::lower_bound(merges_.data() + starts_[row], last, right,
                         [](const Merge& merge, TokenId id) { return merge.right < id; });
    return place != last && place->right == right ? place : nullptr;
  }

 private:
  std::vector<Merge> merges_;          // by left, then right
  std::vector<std::uint32_t> starts_;  // [size + 1]: where each left id begins
};

}  // namespace nibble::text
