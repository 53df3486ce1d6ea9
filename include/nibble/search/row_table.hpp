// RowTable: the rows that an index has: stores one after the other, where each id lies, and which
// rows are removed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/search/row_store.hpp>

namespace nibble {

/// A row's place is its number among all rows, removed ones too.
class RowTable {
 public:
  /// Most rows of an index that is changed: places are then looked up in 4 bytes each.
  static constexpr std::int64_t max_rows = std::numeric_limits<std::uint32_t>::max();

  [[nodiscard]] std::span<const RowStore> stores() const noexcept { return stores_; }
  [[nodiscard]] std::int64_t rows() const noexcept { return rows_; }
  [[nodiscard]] Index removed_count() const noexcept { return removed_count_; }
  /// Bytes of all stores.
  [[nodiscard]] std::uint64_t bytes() const noexcept {
    std::uint64_t sum = 0;
    for (const RowStore& store : stores_) sum += store.payload().size();
    return sum;
  }
  [[nodiscard]] bool is_removed(std::int64_t row) const noexcept {
    return removed_[static_cast<std::size_t>(row)];
  }

  /// Appends rows whose ids are new.
  void append(RowStore store) {
    const Index count = store.count();
    removed_.resize(static_cast<std::size_t>(rows_ + count));
    first_rows_.push_back(rows_);
    stores_.push_back(std::move(store));
    rows_ += count;
  }

  /// Appends rows. Throws Error, and appends none, where an id is there already or twice, or rows
  /// would be more than `max_rows`.
  void add(RowStore store) {
    if (store.count() > max_rows - std::min(rows_, max_rows)) {
      fail("index: ", rows_, " rows and ", store.count(), " more, expected at most ", max_rows);
    }
    Places& places = places_by_id();
    const Places added = sorted_places(store);
    const std::uint64_t* ids = store.rows(rows_).ids;
    const auto new_id = [&](std::uint32_t row) { return ids[row - rows_]; };
    const auto twice = std::ranges::adjacent_find(added, std::ranges::equal_to(), new_id);
    if (twice != added.end()) fail("index: id ", new_id(*twice), " is there already");

    // Where each goes: before a place, or instead of it, where that row is removed.
    struct Target {
      std::size_t at = 0;
      bool replaces = false;
    };
    std::vector<Target> targets;
    targets.reserve(added.size());
    std::size_t replaced = 0;
    for (auto from = places.begin(); const std::uint32_t row : added) {
      const std::uint64_t id = new_id(row);
      from = lower_bound(from, places.end(), id);
      if (find(from, places.end(), id) != places.end()) {
        fail("index: id ", id, " is there already");
      }
      const bool replaces = from != places.end() && id_at(*from) == id;
      targets.push_back({static_cast<std::size_t>(from - places.begin()), replaces});
      replaced += replaces ? 1 : 0;
    }
    const std::size_t size = places.size() + added.size();
    if (size > places.capacity()) places.reserve(std::max(size, places.size() / 2 * 3));
    append(std::move(store));
    merge(places, added, targets, replaced);
  }

  /// Removes a row that is there.
  void remove_place(std::int64_t row) {
    removed_[static_cast<std::size_t>(row)] = true;
    ++removed_count_;
  }

  /// Removes the row of an id and returns its place, or nothing where there is none.
  std::optional<std::int64_t> remove(std::uint64_t id) {
    Places& places = places_by_id();
    const auto found = find(lower_bound(places.begin(), places.end(), id), places.end(), id);
    if (found == places.end()) return std::nullopt;
    remove_place(*found);
    return *found;
  }

  /// An id of two rows, which only a file can bring about.
  [[nodiscard]] std::optional<std::uint64_t> repeated_id() {
    const Places& places = places_by_id();
    const auto id = [&](std::uint32_t row) { return id_at(row); };
    const auto found = std::ranges::adjacent_find(places, std::ranges::equal_to(), id);
    if (found == places.end()) return std::nullopt;
    return id_at(*found);
  }

  /// The stores' rows, for a scan.
  [[nodiscard]] std::vector<RowSpan> spans() const {
    std::vector<RowSpan> spans;
    std::int64_t first_row = 0;
    for (const RowStore& store : stores_) {
      spans.push_back(store.rows(first_row));
      first_row += store.count();
    }
    return spans;
  }

 private:
  using Places = std::vector<std::uint32_t>;

  [[nodiscard]] std::uint64_t id_at(std::int64_t row) const noexcept {
    const auto after = std::ranges::upper_bound(first_rows_, row);
    const auto store = static_cast<std::size_t>(after - first_rows_.begin()) - 1;
    return stores_[store].rows(0).ids[row - first_rows_[store]];
  }

  [[nodiscard]] Places::iterator lower_bound(Places::iterator begin, Places::iterator end,
                                             std::uint64_t id) const {
    if (begin != end && id_at(*(end - 1)) < id) return end;  // as with ids that count up
    return std::lower_bound(begin, end, id,
                            [&](std::uint32_t row, std::uint64_t key) { return id_at(row) < key; });
  }

  /// The row of an id that is not removed, from its lower bound on, or `end`.
  [[nodiscard]] Places::iterator find(Places::iterator at, Places::iterator end,
                                      std::uint64_t id) const {
    for (; at != end && id_at(*at) == id; ++at) {
      if (!is_removed(*at)) return at;
    }
    return end;
  }

  /// The places that a store's rows will have, sorted by id.
  [[nodiscard]] Places sorted_places(const RowStore& store) const {
    const std::uint64_t* ids = store.rows(rows_).ids;
    Places places(static_cast<std::size_t>(store.count()));
    std::iota(places.begin(), places.end(), static_cast<std::uint32_t>(rows_));
    const auto id = [&](std::uint32_t row) { return ids[row - rows_]; };
    if (!std::ranges::is_sorted(places, {}, id)) std::ranges::sort(places, {}, id);
    return places;
  }

  /// Puts what was added into its places, from the end on.
  template <class Targets>
  static void merge(Places& places, const Places& added, const Targets& targets,
                    std::size_t replaced) {
    auto rest = static_cast<std::ptrdiff_t>(places.size());
    places.resize(places.size() + added.size() - replaced);
    auto to = places.end();
    for (std::size_t i = added.size(); i-- > 0;) {
      const auto at = static_cast<std::ptrdiff_t>(targets[i].at);
      const auto from = places.begin() + at + (targets[i].replaces ? 1 : 0);
      to = std::move_backward(from, places.begin() + rest, to);
      *--to = added[i];
      rest = at;
    }
  }

  /// All rows but those removed before it was made, sorted by id; made when something is first
  /// added or removed by its id.
  [[nodiscard]] Places& places_by_id() {
    if (places_) return *places_;
    if (rows_ > max_rows) fail("index: ", rows_, " rows, expected at most ", max_rows);
    Places places;
    places.reserve(static_cast<std::size_t>(rows_ - removed_count_));
    for (std::int64_t row = 0; row < rows_; ++row) {
      if (!is_removed(row)) places.push_back(static_cast<std::uint32_t>(row));
    }
    const auto id = [&](std::uint32_t row) { return id_at(row); };
    if (!std::ranges::is_sorted(places, {}, id)) std::ranges::sort(places, {}, id);
    return places_.emplace(std::move(places));
  }

  std::vector<RowStore> stores_;
  std::vector<std::int64_t> first_rows_;  // of each store
  std::int64_t rows_ = 0;
  std::vector<bool> removed_;  // [rows_]
  Index removed_count_ = 0;
  std::optional<Places> places_;
};

}  // namespace nibble
