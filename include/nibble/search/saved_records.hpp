// Which rows go into which record of an index that is saved.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <nibble/search/row_encoder.hpp>
#include <nibble/search/row_store.hpp>
#include <nibble/search/row_table.hpp>

namespace nibble {

/// For each record, a store, or some whole lists; removed rows still among them.
[[nodiscard]] inline std::vector<std::vector<RowStore::Piece>> records_to_save(
    const RowTable& rows, const RowEncoder& encoder) {
  const auto stores = rows.stores();
  std::vector<std::vector<RowStore::Piece>> records;
  const bool in_order = stores.size() <= 1 && rows.removed_count() == 0;
  if (in_order || encoder.centroids() == nullptr) {
    std::int64_t first_row = 0;
    for (const RowStore& store : stores) {
      records.push_back({{&store, 0, 0, store.count(), first_row}});
      first_row += store.count();
    }
    return records;
  }
  // Records are put together in memory, so they hold a limited number of bytes.
  constexpr std::uint64_t most_bytes = std::uint64_t{128} << 20;
  const std::uint64_t row_bytes =
      rows.bytes() / static_cast<std::uint64_t>(std::max(rows.rows(), std::int64_t{1}));
  std::uint64_t room = 0;
  for (Index list = 0; list < encoder.parameters().lists(); ++list) {
    std::int64_t first_row = 0;
    for (const RowStore& store : stores) {
      const RowStore::Piece piece = store.list(list, first_row);
      first_row += store.count();
      if (piece.count == 0) continue;
      if (room == 0) {
        records.emplace_back();
        room = most_bytes;
      }
      records.back().push_back(piece);
      room -= std::min(room, static_cast<std::uint64_t>(piece.count) * row_bytes);
    }
  }
  return records;
}

}  // namespace nibble
