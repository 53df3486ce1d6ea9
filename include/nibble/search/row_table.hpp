// RowTable: the rows that an index has: stores one after the other, where each id lies, and which
// rows are removed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/search/row_store.hpp>

namespace nibble {

/// A row's place is its number among all rows, removed ones too.
class RowTable {
 public:
  [[nodiscard]] std::span<const RowStore> stores() const noexcept { return stores_; }
  [[nodiscard]] std::int64_t rows() const noexcept { return rows_; }
  [[nodiscard]] Index removed_count() const noexcept { return removed_count_; }
  [[nodiscard]] bool is_removed(std::int64_t row) const noexcept {
    return removed_[static_cast<std::size_t>(row)];
  }

  /// Appends rows whose ids are new.
  void append(RowStore store) {
    rows_ += store.count();
    stores_.push_back(std::move(store));
    removed_.resize(static_cast<std::size_t>(rows_));
  }

  /// Appends rows. Throws Error, and appends none, where an id is there already or twice.
  void add(RowStore store) {
    std::unordered_map<std::uint64_t, std::int64_t>& places = places_by_id();
    const RowSpan rows = store.rows(rows_);
    for (Index i = 0; i < rows.count; ++i) {
      if (places.try_emplace(rows.ids[i], rows_ + i).second) continue;
      for (Index j = 0; j < i; ++j) places.erase(rows.ids[j]);
      fail("index: id ", rows.ids[i], " is there already");
    }
    append(std::move(store));
  }

  /// Removes a row that is there.
  void remove_place(std::int64_t row) {
    removed_[static_cast<std::size_t>(row)] = true;
    ++removed_count_;
  }

  /// Removes the row of an id and returns its place, or nothing where there is none.
  std::optional<std::int64_t> remove(std::uint64_t id) {
    auto& places = places_by_id();
    const auto found = places.find(id);
    if (found == places.end()) return std::nullopt;
    const std::int64_t row = found->second;
    remove_place(row);
    places.erase(found);
    return row;
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
  /// Made when something is first added or removed by its id.
  [[nodiscard]] std::unordered_map<std::uint64_t, std::int64_t>& places_by_id() {
    if (places_) return *places_;
    places_.emplace();
    places_->reserve(static_cast<std::size_t>(rows_));
    for (const RowSpan& rows : spans()) {
      for (Index i = 0; i < rows.count; ++i) {
        const std::int64_t row = rows.first_row + i;
        if (!is_removed(row)) places_->emplace(rows.ids[i], row);
      }
    }
    return *places_;
  }

  std::vector<RowStore> stores_;
  std::int64_t rows_ = 0;
  std::vector<bool> removed_;  // [rows_]
  Index removed_count_ = 0;
  std::optional<std::unordered_map<std::uint64_t, std::int64_t>> places_;
};

}  // namespace nibble
