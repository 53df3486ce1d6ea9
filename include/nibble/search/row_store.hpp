// RowStore: some rows of an index as they lie in its file, in memory of their own or mapped.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/executor.hpp>
#include <nibble/search/index_file.hpp>
#include <nibble/search/row_encoder.hpp>
#include <nibble/search/scan.hpp>

namespace nibble {

/// Immutable and cheap to copy; its bytes live as long as a copy does.
class RowStore {
 public:
  /// Encodes vectors, [ids.size()][dims], on all threads. Throws Error, naming the vector by its
  /// number, where one is not finite.
  [[nodiscard]] static RowStore encode(std::span<const std::uint64_t> ids, const Vectors& vectors,
                                       const RowEncoder& encoder, ExecutorRef pool) {
    RowStore store = make(static_cast<Index>(ids.size()), encoder);
    const RowBytes bytes = encoder.row_bytes();
    std::byte* payload = store.writable_->data();
    const auto part = [&](index_file::Part which) {
      return payload + store.layout_.offsets[which];
    };
    if (!ids.empty()) std::memcpy(part(index_file::Ids), ids.data(), ids.size_bytes());
    auto* codes = reinterpret_cast<std::uint8_t*>(part(index_file::Codes));
    auto* corrections = reinterpret_cast<RaBitQCorrection*>(part(index_file::Corrections));
    std::byte* kept = part(index_file::Kept);
    constexpr Index run = 64;
    pool.run(divide_up(store.count_, run), [&](Index task, int) {
      RaBitQ::Scratch scratch;
      for (Index i = task * run; i < std::min(store.count_, (task + 1) * run); ++i) {
        try {
          encoder.encode({vectors.row(i).data(), static_cast<std::size_t>(vectors.cols())},
                         codes + i * bytes.code, corrections + (bytes.correction > 0 ? i : 0),
                         kept + i * bytes.vector, scratch);
        } catch (const Error& error) {
          fail("vector ", i, ": ", error.what());
        }
      }
    });
    return store;
  }

  /// The rows of a record in a file that `owner` keeps mapped.
  RowStore(const index_file::RecordView& record, const RowEncoder& encoder,
           std::shared_ptr<const void> owner)
      : count_(static_cast<Index>(record.header.count)),
        layout_(*index_file::layout_record(record.header.count, index_file::row_widths(encoder))),
        payload_(record.parts[index_file::Ids].data(), static_cast<std::size_t>(layout_.size)),
        owner_(std::move(owner)) {}

  /// Those rows whose place in the store `keep` says yes to.
  template <class Keep>
  [[nodiscard]] RowStore filtered(const RowEncoder& encoder, Keep keep) const {
    Index count = 0;
    for (Index i = 0; i < count_; ++i) count += keep(i) ? 1 : 0;
    RowStore store = make(count, encoder);
    const auto widths = index_file::row_widths(encoder);
    for (std::size_t part = 0; part < widths.size(); ++part) {
      const auto width = static_cast<std::size_t>(widths[part]);
      std::byte* to = store.writable_->data() + store.layout_.offsets[part];
      const std::byte* from = payload_.data() + layout_.offsets[part];
      for (Index i = 0; i < count_ && width > 0; ++i, from += width) {
        if (!keep(i)) continue;
        std::memcpy(to, from, width);
        to += width;
      }
    }
    return store;
  }

  [[nodiscard]] Index count() const noexcept { return count_; }
  /// As in a file: the parts by `layout()`.
  [[nodiscard]] std::span<const std::byte> payload() const noexcept { return payload_; }
  [[nodiscard]] const index_file::RecordLayout& layout() const noexcept { return layout_; }

  /// For a scan, with the rows before these counted.
  [[nodiscard]] RowSpan rows(std::int64_t first_row) const noexcept {
    const auto part = [&](index_file::Part which) -> const std::byte* {
      return layout_.sizes[which] == 0 ? nullptr : payload_.data() + layout_.offsets[which];
    };
    return {count_,
            first_row,
            reinterpret_cast<const std::uint64_t*>(part(index_file::Ids)),
            reinterpret_cast<const std::uint8_t*>(part(index_file::Codes)),
            reinterpret_cast<const RaBitQCorrection*>(part(index_file::Corrections)),
            part(index_file::Kept)};
  }

 private:
  RowStore() = default;

  [[nodiscard]] static RowStore make(Index count, const RowEncoder& encoder) {
    RowStore store;
    store.count_ = count;
    const auto layout = index_file::layout_record(static_cast<std::uint64_t>(count),
                                                  index_file::row_widths(encoder));
    if (!layout) fail("index: ", count, " rows are too many");
    store.layout_ = *layout;
    store.writable_ = std::make_shared<AlignedBuffer>(
        AlignedBuffer::exact(static_cast<std::size_t>(layout->size)));
    store.payload_ = store.writable_->bytes();
    store.owner_ = store.writable_;
    return store;
  }

  Index count_ = 0;
  index_file::RecordLayout layout_;
  std::span<const std::byte> payload_;
  std::shared_ptr<const void> owner_;
  std::shared_ptr<AlignedBuffer> writable_;  // where the rows are in memory of their own
};

}  // namespace nibble
