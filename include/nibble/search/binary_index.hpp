// BinaryIndex: vectors as bits under ids of the user, the nearest of which are found by a scan and
// re-ranked by vectors kept beside; in memory, or in one mapped file.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/executor.hpp>
#include <nibble/core/progress.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/output_file.hpp>
#include <nibble/io/update_file.hpp>
#include <nibble/search/index_file.hpp>
#include <nibble/search/index_file_reader.hpp>
#include <nibble/search/index_file_writer.hpp>
#include <nibble/search/index_search.hpp>
#include <nibble/search/row_encoder.hpp>
#include <nibble/search/row_store.hpp>
#include <nibble/search/row_table.hpp>
#include <nibble/search/saved_records.hpp>

namespace nibble {

/// The scan is exact; of an index with lists (`with_lists`), it reads those that are probed.
///
/// Many threads may search at once; adding, removing and writing need the index for themselves.
/// Of a file, many processes may be readers and one a writer: a reader sees the file as it was when
/// it opened it. Scores are inner products: of vectors of length 1, cosines.
class BinaryIndex {
 public:
  /// An empty index. Throws Error where the parameters do not fit each other.
  explicit BinaryIndex(IndexParameters parameters)
      : encoder_(std::make_shared<const RowEncoder>(std::move(parameters))) {}

  /// Maps a file and checks all of it but the parts of its records, which `verify` does. Throws
  /// Error, naming the file, where it is damaged, truncated, or something else.
  [[nodiscard]] static BinaryIndex open(const std::filesystem::path& path) {
    return BinaryIndex(path, index_file::map(path));
  }

  /// As `open`, but reads the whole file, compares it with its checksums, and looks for ids that
  /// occur twice. Throws Error, naming what is damaged; Cancelled.
  static BinaryIndex verify(const std::filesystem::path& path, const Progress& progress = {}) {
    const index_file::MappedView mapped = index_file::map(path);
    const std::string source = path_text(path);
    index_file::check_roots(mapped.file->bytes(), source);
    const auto& records = mapped.view.records;
    const auto count = static_cast<Index>(records.size());
    for (std::size_t i = 0; i < records.size(); ++i) {
      report(progress, "verify", static_cast<Index>(i), count);
      index_file::verify(records[i], i, source);
    }
    report(progress, "verify", count, count);
    BinaryIndex index(path, mapped);
    if (const auto id = index.rows_.repeated_id()) fail(source, ": id ", *id, " occurs twice");
    return index;
  }

  [[nodiscard]] const IndexParameters& parameters() const noexcept {
    return encoder_->parameters();
  }
  /// Rows that can be found.
  [[nodiscard]] Index size() const noexcept { return rows() - rows_.removed_count(); }
  /// Rows that are scanned, removed ones too, which take up room until `save` leaves them out.
  [[nodiscard]] Index rows() const noexcept { return rows_.rows(); }
  /// Bytes that the rows take, mapped or not.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return rows_.bytes(); }

  /// The ids of the rows that can be found, in the order of the rows.
  [[nodiscard]] std::vector<std::uint64_t> ids() const {
    std::vector<std::uint64_t> ids;
    ids.reserve(static_cast<std::size_t>(size()));
    for_each_row([&](const RowSpan& rows, Index i) { ids.push_back(rows.ids[i]); });
    return ids;
  }

  /// Of an index of plain sign bits, those of the rows that can be found,
  /// [size()][sign_bytes(dims)] in the order of `ids`. Throws Error for one of RaBitQ codes.
  [[nodiscard]] ByteMatrix sign_bits() const {
    if (parameters().code_bits != 0) {
      fail("index: holds RaBitQ codes of ", parameters().code_bits,
           parameters().code_bits == 1 ? " bit" : " bits", ", expected plain sign bits");
    }
    ByteMatrix bits(size(), sign_bytes(parameters().dims));
    Index row = 0;
    for_each_row([&](const RowSpan& rows, Index i) {
      std::memcpy(bits.row(row++).data(), rows.codes + i * bits.cols(),
                  static_cast<std::size_t>(bits.cols()));
    });
    return bits;
  }

  /// Adds vectors, [ids.size()][dims]. Throws Error, and adds none, where an id is there already or
  /// twice, a vector has other dimensions or is not finite, or there would be more rows than
  /// RowTable::max_rows; Cancelled.
  void add(std::span<const std::uint64_t> ids, const Vectors& vectors, ExecutorRef pool,
           const SearchKernels& kernels = search_kernels<>(), const Progress& progress = {}) {
    check_count(ids, vectors.rows(), "vectors");
    if (vectors.cols() != parameters().dims) {
      fail("index: vectors of ", vectors.cols(), " dimensions, expected ", parameters().dims);
    }
    if (ids.empty()) return;
    rows_.add(RowStore::encode(ids, vectors, *encoder_, pool, kernels, progress));
  }

  /// Adds plain sign bits, [ids.size()][sign_bytes(dims)], as `sign_bits` and `pack_signs` give
  /// them. Throws Error, and adds none, as `add`, where a bit beyond the dimensions is set, or
  /// where the index keeps more of a vector: RaBitQ codes, other vectors, lists.
  void add_bits(std::span<const std::uint64_t> ids, const ByteMatrix& bits) {
    check_count(ids, bits.rows(), "codes");
    if (parameters().code_bits != 0 || parameters().kept != KeptVectors::None ||
        parameters().lists() != 0) {
      fail("index: bits can be added where plain sign bits are all that is kept");
    }
    if (bits.cols() != sign_bytes(parameters().dims)) {
      fail("index: codes of ", bits.cols(), " bytes, expected ", sign_bytes(parameters().dims));
    }
    const auto beyond = static_cast<unsigned>(8 * bits.cols() - parameters().dims);
    for (Index i = 0; i < bits.rows(); ++i) {
      if ((bits(i, bits.cols() - 1) & ((1U << beyond) - 1)) != 0) {
        fail("index: code ", i, ": has bits beyond ", parameters().dims, " dimensions");
      }
    }
    if (!ids.empty()) rows_.add(RowStore::of_signs(ids, bits, *encoder_));
  }

  /// Removes rows, and returns how many of the ids were there.
  Index remove(std::span<const std::uint64_t> ids) {
    Index count = 0;
    for (const std::uint64_t id : ids) {
      const auto row = rows_.remove(id);
      if (!row) continue;
      if (file_) file_->removed.push_back(static_cast<std::uint64_t>(*row));
      ++count;
    }
    return count;
  }

  /// The nearest rows of each query, see `search_rows`.
  [[nodiscard]] std::vector<std::vector<Neighbour>> search(
      const Vectors& queries, const SearchOptions& options, ExecutorRef pool,
      const SearchKernels& kernels = search_kernels<>()) const {
    return search_rows(rows_, *encoder_, queries, options, pool, kernels);
  }

  /// Writes a file of all rows but the removed ones, which replaces one of that name when it is
  /// complete. The rows of a list lie together in it. An index that was opened from that file is
  /// to be opened anew before it is committed: rows have moved. Throws Error, also where the file
  /// that would be replaced is being written, and Cancelled; then nothing has changed.
  void save(const std::filesystem::path& path, const Progress& progress = {}) const {
    std::optional<UpdateFile> former;
    if (std::error_code code; std::filesystem::is_regular_file(path, code)) {
      former.emplace(path);
      remove_partial_siblings(path);
    }
    OutputFile file(path);
    const auto write_at = [&](std::uint64_t offset, std::span<const std::byte> bytes) {
      file.write_at(offset, bytes);
    };
    index_file::Root root = index_file::write_start(parameters(), write_at);
    const auto keep = [&](std::int64_t row) { return !rows_.is_removed(row); };
    const auto records = records_to_save(rows_, *encoder_);
    for (std::size_t i = 0; i < records.size(); ++i) {
      report(progress, "save", static_cast<Index>(i), static_cast<Index>(records.size()));
      const std::vector<RowStore::Piece>& pieces = records[i];
      const Index count = pieces.front().count;
      const bool whole = pieces.size() == 1 && count == pieces.front().store->count();
      const RowStore store = whole && rows_.removed_count() == 0
                                 ? *pieces.front().store
                                 : RowStore::gather(pieces, *encoder_, keep);
      index_file::write_rows(store.count(), store.payload(), store.layout(), root, write_at);
    }
    index_file::write_root(root, write_at);
    report(progress, "save", 1, 1);
    if (former) former->allow_replacement();
    file.commit(Sync::yes);
  }

  /// Appends what was added and removed since `open` to the file. When it returns, that is on the
  /// disk; until then, or after a crash or an Error, the file holds what it held before. Throws
  /// Error where the index was not opened from a file, the file has changed since, or one of its
  /// roots is damaged.
  void commit() {
    if (!file_) fail("index: was not opened from a file, so there is none to append to");
    if (file_->stores == rows_.stores().size() && file_->removed.empty()) return;
    UpdateFile file(file_->path);
    const std::string source = path_text(file_->path);
    std::vector<std::byte> start(index_file::parameters_offset);
    file.read_at(0, start);
    index_file::check_roots(start, source);
    if (index_file::find_root(start, source) != file_->root) {
      fail(source, ": has changed since it was opened");
    }
    index_file::Root root = file_->root;
    const auto write_at = [&](std::uint64_t offset, std::span<const std::byte> bytes) {
      file.write_at(offset, bytes);
    };
    for (std::size_t i = file_->stores; i < rows_.stores().size(); ++i) {
      const RowStore& store = rows_.stores()[i];
      index_file::write_rows(store.count(), store.payload(), store.layout(), root, write_at);
    }
    if (!file_->removed.empty()) index_file::write_removed(file_->removed, root, write_at);
    file.force();
    ++root.generation;
    index_file::write_root(root, write_at);
    file.force();
    file_->root = root;
    file_->stores = rows_.stores().size();
    file_->removed.clear();
  }

 private:
  /// What the file held when it was opened, or last appended to.
  struct File {
    std::filesystem::path path;
    index_file::Root root;
    std::size_t stores = 0;              // that are in it
    std::vector<std::uint64_t> removed;  // places of rows removed since
  };

  BinaryIndex(const std::filesystem::path& path, const index_file::MappedView& mapped)
      : encoder_(mapped.view.encoder) {
    const std::string source = path_text(path);
    const index_file::Root& root = mapped.view.root;
    for (std::size_t i = 0; i < mapped.view.records.size(); ++i) {
      const index_file::RecordView& record = mapped.view.records[i];
      if (record.header.tag == index_file::rows_tag) {
        rows_.append(RowStore(record, *encoder_, mapped.file));
      } else {
        index_file::verify(record, i, source);
        remove_places(record, i, source);
      }
    }
    const Index removed = rows_.removed_count();
    if (static_cast<std::uint64_t>(removed) != root.removed) {
      fail(source, ": ", removed, " rows are removed, the root says ", root.removed);
    }
    file_ = File{path, root, rows_.stores().size(), {}};
  }

  static void check_count(std::span<const std::uint64_t> ids, Index count, const char* what) {
    if (count == static_cast<Index>(ids.size())) return;
    fail("index: ", ids.size(), " ids for ", count, " ", what);
  }

  /// Calls `visit(rows, i)` for each row that can be found, in their order.
  template <class Visit>
  void for_each_row(Visit visit) const {
    for (const RowSpan& rows : rows_.spans()) {
      for (Index i = 0; i < rows.count; ++i) {
        if (!rows_.is_removed(rows.first_row + i)) visit(rows, i);
      }
    }
  }

  void remove_places(const index_file::RecordView& record, std::size_t number,
                     const std::string& source) {
    const auto bytes = record.parts[index_file::Ids];
    for (std::size_t i = 0; i < bytes.size() / sizeof(std::uint64_t); ++i) {
      const auto row = index_file::detail::read<std::uint64_t>(bytes, i * sizeof(std::uint64_t));
      const auto place = static_cast<std::int64_t>(row);
      if (row >= static_cast<std::uint64_t>(rows()) || rows_.is_removed(place)) {
        fail(source, ": record ", number, ": removes row ", row, ", which is not there");
      }
      rows_.remove_place(place);
    }
  }

  std::shared_ptr<const RowEncoder> encoder_;
  RowTable rows_;
  std::optional<File> file_;
};

}  // namespace nibble
