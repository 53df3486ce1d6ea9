// Split: cuts a text at the matches of a pattern, with the five ways to treat what matched.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace nibble::text {

/// What becomes of a match, here "-" in "a--b".
enum class SplitBehavior {
  Isolated,            ///< "a" "-" "-" "b"
  Removed,             ///< "a" "b"
  MergedWithPrevious,  ///< "a-" "-" "b"
  MergedWithNext,      ///< "a" "-" "-b"
  Contiguous           ///< "a" "--" "b"
};

/// A part of a text, in bytes, and whether the pattern matched it.
struct SplitRange {
  std::size_t begin;
  std::size_t end;
  bool is_match;
};

/// Turns the ranges, which cover the text in order, into those that the behavior leaves. `ranges`
/// is changed in place.
inline void apply_behavior(std::vector<SplitRange>& ranges, SplitBehavior behavior) {
  std::size_t kept = 0;
  bool previous = false;
  switch (behavior) {
    case SplitBehavior::Isolated:
      return;
    case SplitBehavior::Removed:
      std::erase_if(ranges, [](const SplitRange& range) { return range.is_match; });
      return;
    case SplitBehavior::MergedWithPrevious:
    case SplitBehavior::Contiguous:
      for (const SplitRange range : ranges) {
        const bool joins = behavior == SplitBehavior::Contiguous ? range.is_match == previous
                                                                 : range.is_match && !previous;
        previous = range.is_match;
        if (joins && kept > 0) {
          ranges[kept - 1].end = range.end;
        } else {
          ranges[kept++] = range;
        }
      }
      ranges.resize(kept);
      return;
    case SplitBehavior::MergedWithNext:
      kept = ranges.size();
      for (std::size_t i = ranges.size(); i-- > 0;) {
        const SplitRange range = ranges[i];
        const bool joins = range.is_match && !previous;
        previous = range.is_match;
        if (joins && kept < ranges.size()) {
          ranges[kept].begin = range.begin;
        } else {
          ranges[--kept] = range;
        }
      }
      ranges.erase(ranges.begin(), ranges.begin() + static_cast<std::ptrdiff_t>(kept));
      return;
  }
}

}  // namespace nibble::text
