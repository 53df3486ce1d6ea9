// RowStore: some rows of an index as they lie in its file, in memory of their own or mapped.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/executor.hpp>
#include <nibble/core/progress.hpp>
#include <nibble/search/index_file.hpp>
#include <nibble/search/index_file_reader.hpp>
#include <nibble/search/row_encoder.hpp>
#include <nibble/search/scan.hpp>

namespace nibble {

/// Immutable and cheap to copy; its bytes live as long as a copy does. Where there are lists, rows
/// are sorted by them.
class RowStore {
 public:
  using ListRun = index_file::ListRun;

  /// A part of a store's rows, all of one list where there are lists.
  struct Piece {
    const RowStore* store = nullptr;
    Index list = 0;
    Index first = 0, count = 0;
    std::int64_t first_row = 0;  // the place of row `first` among all rows
  };

  /// Encodes vectors, [ids.size()][dims], on all threads, and sorts them by list. Throws Error,
  /// naming the vector by its number, where one is not finite; Cancelled.
  [[nodiscard]] static RowStore encode(std::span<const std::uint64_t> ids, const Vectors& vectors,
                                       const RowEncoder& encoder, ExecutorRef pool,
                                       const SearchKernels& kernels, const Progress& progress) {
    const auto count = static_cast<Index>(ids.size());
    const Order order = sort_by_list(vectors, encoder, pool, kernels);
    RowStore store = make(count, order.runs, encoder);
    std::byte* stored_ids = store.part(index_file::Ids);
    auto* codes = reinterpret_cast<std::uint8_t*>(store.part(index_file::Codes));
    auto* corrections = reinterpret_cast<RaBitQCorrection*>(store.part(index_file::Corrections));
    std::byte* kept = store.part(index_file::Kept);
    const RowBytes bytes = encoder.row_bytes();
    constexpr Index run = 64, runs_at_once = 256;
    const auto encode_run = [&](Index begin) {
      RowEncoder::Scratch scratch;
      for (Index i = begin; i < std::min(count, begin + run); ++i) {
        const Index vector = order.vectors.empty() ? i : order.vectors[static_cast<std::size_t>(i)];
        const auto at = static_cast<std::size_t>(vector);
        std::memcpy(stored_ids + i * static_cast<Index>(sizeof ids[at]), &ids[at], sizeof ids[at]);
        try {
          encoder.encode({vectors.row(vector).data(), static_cast<std::size_t>(vectors.cols())},
                         order.vectors.empty() ? 0 : order.lists[at], codes + i * bytes.code,
                         corrections + (bytes.correction > 0 ? i : 0), kept + i * bytes.vector,
                         scratch);
        } catch (const Error& error) {
          fail("vector ", vector, ": ", error.what());
        }
      }
    };
    for (Index first = 0; first < count; first += run * runs_at_once) {
      report(progress, "add", first, count);
      const Index rows = std::min(count - first, run * runs_at_once);
      pool.run(divide_up(rows, run), [&](Index task, int) { encode_run(first + task * run); });
    }
    report(progress, "add", count, count);
    return store;
  }

  /// Plain sign bits, [ids.size()][sign_bytes(dims)], of an index that keeps nothing else.
  [[nodiscard]] static RowStore of_signs(std::span<const std::uint64_t> ids, const ByteMatrix& bits,
                                         const RowEncoder& encoder) {
    RowStore store = make(static_cast<Index>(ids.size()), {}, encoder);
    if (ids.empty()) return store;
    std::memcpy(store.part(index_file::Ids), ids.data(), ids.size_bytes());
    std::memcpy(store.part(index_file::Codes), bits.data(), static_cast<std::size_t>(bits.size()));
    return store;
  }

  /// The rows of a record in a file that `owner` keeps mapped.
  RowStore(const index_file::RecordView& record, const RowEncoder& encoder,
           std::shared_ptr<const void> owner)
      : count_(static_cast<Index>(record.header.count)),
        layout_(*index_file::layout_record(record.header.count, record.header.runs,
                                           index_file::row_widths(encoder))),
        payload_(record.parts.front().data(), static_cast<std::size_t>(layout_.size)),
        owner_(std::move(owner)) {}

  /// Those rows of some pieces, sorted by list, whose place among all rows `keep` says yes to.
  template <class Keep>
  [[nodiscard]] static RowStore gather(std::span<const Piece> pieces, const RowEncoder& encoder,
                                       Keep keep) {
    Index count = 0;
    std::vector<ListRun> runs;
    for (const Piece& piece : pieces) {
      const Index before = count;
      for (Index i = 0; i < piece.count; ++i) count += keep(piece.first_row + i) ? 1 : 0;
      if (encoder.centroids() == nullptr || count == before) continue;
      const auto list = static_cast<std::uint64_t>(piece.list);
      if (runs.empty() || runs.back().list != list) runs.push_back({list, 0});
      runs.back().end = static_cast<std::uint64_t>(count);
    }
    RowStore store = make(count, runs, encoder);
    const auto widths = index_file::row_widths(encoder);
    for (std::size_t part = index_file::Ids; part < widths.size(); ++part) {
      const auto width = static_cast<std::size_t>(widths[part]);
      std::byte* to = store.part(part);
      for (const Piece& piece : pieces) {
        const std::byte* from = piece.store->payload_.data() + piece.store->layout_.offsets[part] +
                                static_cast<std::size_t>(piece.first) * width;
        for (Index i = 0; i < piece.count && width > 0; ++i, from += width) {
          if (!keep(piece.first_row + i)) continue;
          std::memcpy(to, from, width);
          to += width;
        }
      }
    }
    return store;
  }

  [[nodiscard]] Index count() const noexcept { return count_; }
  /// As in a file: the parts by `layout()`.
  [[nodiscard]] std::span<const std::byte> payload() const noexcept { return payload_; }
  [[nodiscard]] const index_file::RecordLayout& layout() const noexcept { return layout_; }
  [[nodiscard]] Index runs() const noexcept {
    return static_cast<Index>(layout_.sizes[index_file::Lists] / sizeof(ListRun));
  }

  /// The rows of a list, with the rows before this store counted.
  [[nodiscard]] Piece list(Index list, std::int64_t first_row) const noexcept {
    const std::span all(list_runs(), static_cast<std::size_t>(runs()));
    const auto wanted = static_cast<std::uint64_t>(list);
    const auto found = std::ranges::lower_bound(all, wanted, {}, &ListRun::list);
    if (found == all.end() || found->list != wanted) return {this, list, 0, 0, first_row};
    const auto first = found == all.begin() ? 0 : static_cast<Index>((found - 1)->end);
    return {this, list, first, static_cast<Index>(found->end) - first, first_row + first};
  }

  /// All rows, for a scan, with the rows before these counted.
  [[nodiscard]] RowSpan rows(std::int64_t first_row) const noexcept {
    const auto at = [&](index_file::Part which) -> const std::byte* {
      return layout_.sizes[which] == 0 ? nullptr : payload_.data() + layout_.offsets[which];
    };
    return {count_,
            first_row,
            reinterpret_cast<const std::uint64_t*>(at(index_file::Ids)),
            reinterpret_cast<const std::uint8_t*>(at(index_file::Codes)),
            reinterpret_cast<const RaBitQCorrection*>(at(index_file::Corrections)),
            at(index_file::Kept)};
  }

 private:
  /// Where vectors go; without lists, all empty.
  struct Order {
    std::vector<std::uint32_t> lists;  // of each vector
    std::vector<Index> vectors;        // in the order of their lists
    std::vector<ListRun> runs;
  };

  RowStore() = default;

  [[nodiscard]] static Order sort_by_list(const Vectors& vectors, const RowEncoder& encoder,
                                          ExecutorRef pool, const SearchKernels& kernels) {
    Order order;
    if (encoder.centroids() == nullptr) return order;
    const auto load = [&](Index row, float* to) {
      std::copy_n(vectors.row(row).data(), vectors.cols(), to);
      encoder.turn({to, static_cast<std::size_t>(vectors.cols())});
    };
    order.lists = encoder.centroids()->assign(vectors.rows(), load, pool, kernels).centroids;
    order.vectors.resize(order.lists.size());
    std::iota(order.vectors.begin(), order.vectors.end(), Index{0});
    const auto list_of = [&](Index i) { return order.lists[static_cast<std::size_t>(i)]; };
    std::ranges::stable_sort(order.vectors, {}, list_of);
    for (std::size_t i = 0; i < order.vectors.size(); ++i) {
      const std::uint64_t list = list_of(order.vectors[i]);
      if (order.runs.empty() || order.runs.back().list != list) order.runs.push_back({list, 0});
      order.runs.back().end = i + 1;
    }
    return order;
  }

  [[nodiscard]] static RowStore make(Index count, std::span<const ListRun> runs,
                                     const RowEncoder& encoder) {
    RowStore store;
    store.count_ = count;
    const auto layout = index_file::layout_record(static_cast<std::uint64_t>(count), runs.size(),
                                                  index_file::row_widths(encoder));
    if (!layout) fail("index: ", count, " rows are too many");
    store.layout_ = *layout;
    store.writable_ = std::make_shared<AlignedBuffer>(
        AlignedBuffer::exact(static_cast<std::size_t>(layout->size)));
    store.payload_ = store.writable_->bytes();
    store.owner_ = store.writable_;
    if (!runs.empty()) {
      std::memcpy(store.part(index_file::Lists), runs.data(), runs.size_bytes());
    }
    return store;
  }

  [[nodiscard]] std::byte* part(std::size_t which) const noexcept {
    return writable_->data() + layout_.offsets[which];
  }
  [[nodiscard]] const ListRun* list_runs() const noexcept {
    return reinterpret_cast<const ListRun*>(payload_.data() + layout_.offsets[index_file::Lists]);
  }

  Index count_ = 0;
  index_file::RecordLayout layout_;
  std::span<const std::byte> payload_;
  std::shared_ptr<const void> owner_;
  std::shared_ptr<AlignedBuffer> writable_;  // where the rows are in memory of their own
};

}  // namespace nibble
