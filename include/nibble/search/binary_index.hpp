// BinaryIndex: vectors as bits under ids of the user, the nearest of which are found by an exact
// scan and re-ranked by vectors kept beside; in memory, or in one mapped file.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/executor.hpp>
#include <nibble/io/mapped_file.hpp>
#include <nibble/io/output_file.hpp>
#include <nibble/io/update_file.hpp>
#include <nibble/search/index_file.hpp>
#include <nibble/search/index_records.hpp>
#include <nibble/search/nearest.hpp>
#include <nibble/search/row_encoder.hpp>
#include <nibble/search/row_store.hpp>
#include <nibble/search/scan.hpp>

namespace nibble {

/// What is looked for.
struct SearchOptions {
  std::size_t count = 10;
  /// Bits of the queries' codes, 1 to 8; 0: 4 for rows of one bit, else 8. With 1, plain sign bits
  /// are compared with sign bits, so that scores are Hamming distances.
  int query_bits = 0;
  /// So many times `count` rows are taken by their codes and re-ranked by kept vectors; 0: none is
  /// re-ranked, and scores are those of the codes.
  double oversampling = 4;
  std::function<bool(std::uint64_t id)> filter;  // what may be found; called on any thread
};

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
    const auto file = MappedFile::open(path);
    const std::string source = path_text(path);
    index_file::FileView view = index_file::read(file->bytes(), source);
    BinaryIndex index(std::move(view.parameters));
    for (std::size_t i = 0; i < view.records.size(); ++i) {
      const index_file::RecordView& record = view.records[i];
      if (record.header.tag == index_file::rows_tag) {
        index.append(RowStore(record, *index.encoder_, file));
      } else {
        index_file::verify(record, i, source);
        index.remove_places(record, i, source);
      }
    }
    if (static_cast<std::uint64_t>(index.removed_count_) != view.root.removed) {
      fail(source, ": ", index.removed_count_, " rows are removed, the root says ",
           view.root.removed);
    }
    index.file_ = File{path, view.root, index.stores_.size(), {}};
    return index;
  }

  /// Reads the whole file and compares it with its checksums. Throws Error, naming what is damaged.
  static void verify(const std::filesystem::path& path) {
    const auto file = MappedFile::open(path);
    const std::string source = path_text(path);
    const index_file::FileView view = index_file::read(file->bytes(), source);
    for (std::size_t i = 0; i < view.records.size(); ++i) {
      index_file::verify(view.records[i], i, source);
    }
    static_cast<void>(open(path));
  }

  [[nodiscard]] const IndexParameters& parameters() const noexcept {
    return encoder_->parameters();
  }
  /// Rows that can be found.
  [[nodiscard]] Index size() const noexcept { return rows_ - removed_count_; }
  /// Rows that are scanned, removed ones too, which take up room until `save` leaves them out.
  [[nodiscard]] Index rows() const noexcept { return rows_; }
  /// Bytes that the rows take, mapped or not.
  [[nodiscard]] std::uint64_t bytes() const noexcept {
    std::uint64_t sum = 0;
    for (const RowStore& store : stores_) sum += store.payload().size();
    return sum;
  }

  /// Adds vectors, [ids.size()][dims]. Throws Error, and adds none, where an id is there already or
  /// twice, or a vector has other dimensions or is not finite.
  void add(std::span<const std::uint64_t> ids, const Vectors& vectors, ExecutorRef pool) {
    if (vectors.rows() != static_cast<Index>(ids.size())) {
      fail("index: ", ids.size(), " ids for ", vectors.rows(), " vectors");
    }
    if (vectors.cols() != parameters().dims) {
      fail("index: vectors of ", vectors.cols(), " dimensions, expected ", parameters().dims);
    }
    if (ids.empty()) return;
    std::unordered_map<std::uint64_t, std::int64_t>& places = places_by_id();
    RowStore store = RowStore::encode(ids, vectors, *encoder_, pool);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (places.try_emplace(ids[i], rows_ + static_cast<std::int64_t>(i)).second) continue;
      for (std::size_t j = 0; j < i; ++j) places.erase(ids[j]);
      fail("index: id ", ids[i], " is there already");
    }
    append(std::move(store));
  }

  /// Removes rows, and returns how many of the ids were there.
  Index remove(std::span<const std::uint64_t> ids) {
    Index count = 0;
    auto& places = places_by_id();
    for (const std::uint64_t id : ids) {
      const auto found = places.find(id);
      if (found == places.end()) continue;
      remove_place(found->second);
      if (file_) file_->removed.push_back(static_cast<std::uint64_t>(found->second));
      places.erase(found);
      ++count;
    }
    return count;
  }

  /// The nearest rows of each query, [queries][dims], the nearest first, ties by id. The same for
  /// any number of threads. Throws Error where a query has other dimensions or is not finite, or an
  /// option is out of range.
  [[nodiscard]] std::vector<std::vector<Neighbour>> search(
      const Vectors& queries, const SearchOptions& options, ExecutorRef pool,
      const SearchKernels& kernels = search_kernels<>()) const {
    const bool rescored = options.oversampling > 0 && parameters().kept != KeptVectors::None;
    if (!(options.oversampling >= 0) || options.oversampling > 1e6) {
      fail("oversampling: expected 0 to 1000000, found ", options.oversampling);
    }
    const int query_bits = options.query_bits != 0       ? options.query_bits
                           : parameters().code_bits <= 1 ? 4
                                                         : 8;
    const auto most = static_cast<std::size_t>(size());
    const std::size_t count = std::min(options.count, most);
    std::size_t candidates = count;
    if (rescored) {
      const double wanted = std::ceil(options.oversampling * static_cast<double>(count));
      candidates = std::clamp(static_cast<std::size_t>(wanted), count, std::max(count, most));
    }
    std::vector<RowSpan> spans;
    std::int64_t first_row = 0;
    for (const RowStore& store : stores_) {
      spans.push_back(store.rows(first_row));
      first_row += store.count();
    }
    RowFilter filter;
    if (removed_count_ > 0 || options.filter) {
      filter = [&](std::uint64_t id, std::int64_t row) {
        return !is_removed(row) && (!options.filter || options.filter(id));
      };
    }
    const ScanQueries prepared(queries, *encoder_, query_bits, pool);
    auto found = scan(prepared, spans, *encoder_, candidates, filter, pool, kernels);
    std::vector<std::vector<Neighbour>> results(found.size());
    pool.run(static_cast<Index>(found.size()), [&](Index q, int) {
      const auto i = static_cast<std::size_t>(q);
      results[i] = std::move(found[i]).take();
      if (!rescored) return;
      const KeptQuery query({queries.row(q).data(), static_cast<std::size_t>(queries.cols())},
                            parameters());
      Nearest nearest(count);
      for (Neighbour each : results[i]) {
        const auto after = std::ranges::upper_bound(spans, each.row, {}, &RowSpan::first_row);
        const RowSpan& span = *(after - 1);
        each.score = query.product(
            span.vectors + (each.row - span.first_row) * encoder_->row_bytes().vector, kernels);
        nearest.add(each);
      }
      results[i] = std::move(nearest).take();
    });
    return results;
  }

  /// Writes a file of all rows but the removed ones, which replaces one of that name when it is
  /// complete. Throws Error; then nothing has changed.
  void save(const std::filesystem::path& path) const {
    OutputFile file(path);
    const auto write_at = [&](std::uint64_t offset, std::span<const std::byte> bytes) {
      file.write_at(offset, bytes);
    };
    index_file::Root root = index_file::write_start(parameters(), write_at);
    std::int64_t first_row = 0;
    for (const RowStore& store : stores_) {
      const auto keep = [&](Index i) { return !is_removed(first_row + i); };
      const RowStore kept = removed_count_ > 0 ? store.filtered(*encoder_, keep) : store;
      index_file::write_rows(kept.count(), kept.payload(), kept.layout(), root, write_at);
      first_row += store.count();
    }
    index_file::write_root(root, write_at);
    file.commit(Sync::yes);
  }

  /// Appends what was added and removed since `open` to the file. When it returns, that is on the
  /// disk; until then, or after a crash or an Error, the file holds what it held before. Throws
  /// Error where the index was not opened from a file, or the file has changed since.
  void commit() {
    if (!file_) fail("index: was not opened from a file, so there is none to append to");
    if (file_->stores == stores_.size() && file_->removed.empty()) return;
    UpdateFile file(file_->path);
    const std::string source = path_text(file_->path);
    std::vector<std::byte> start(index_file::parameters_offset);
    file.read_at(0, start);
    if (index_file::find_root(start, source) != file_->root) {
      fail(source, ": has changed since it was opened");
    }
    index_file::Root root = file_->root;
    const auto write_at = [&](std::uint64_t offset, std::span<const std::byte> bytes) {
      file.write_at(offset, bytes);
    };
    for (std::size_t i = file_->stores; i < stores_.size(); ++i) {
      const RowStore& store = stores_[i];
      index_file::write_rows(store.count(), store.payload(), store.layout(), root, write_at);
    }
    if (!file_->removed.empty()) index_file::write_removed(file_->removed, root, write_at);
    file.force();
    ++root.generation;
    index_file::write_root(root, write_at);
    file.force();
    file_->root = root;
    file_->stores = stores_.size();
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

  void append(RowStore store) {
    rows_ += store.count();
    stores_.push_back(std::move(store));
    removed_.resize(static_cast<std::size_t>(rows_));
  }

  [[nodiscard]] bool is_removed(std::int64_t row) const noexcept {
    return removed_[static_cast<std::size_t>(row)];
  }
  void remove_place(std::int64_t row) {
    removed_[static_cast<std::size_t>(row)] = true;
    ++removed_count_;
  }

  void remove_places(const index_file::RecordView& record, std::size_t number,
                     const std::string& source) {
    const auto bytes = record.parts[index_file::Ids];
    for (std::size_t i = 0; i < bytes.size() / sizeof(std::uint64_t); ++i) {
      const auto row = index_file::detail::read<std::uint64_t>(bytes, i * sizeof(std::uint64_t));
      if (row >= static_cast<std::uint64_t>(rows_) || is_removed(static_cast<std::int64_t>(row))) {
        fail(source, ": record ", number, ": removes row ", row, ", which is not there");
      }
      remove_place(static_cast<std::int64_t>(row));
    }
  }

  /// Made when something is first added or removed.
  [[nodiscard]] std::unordered_map<std::uint64_t, std::int64_t>& places_by_id() {
    if (places_) return *places_;
    places_.emplace();
    places_->reserve(static_cast<std::size_t>(rows_));
    std::int64_t first_row = 0;
    for (const RowStore& store : stores_) {
      const RowSpan rows = store.rows(first_row);
      for (Index i = 0; i < rows.count; ++i) {
        if (!is_removed(first_row + i)) places_->emplace(rows.ids[i], first_row + i);
      }
      first_row += store.count();
    }
    return *places_;
  }

  std::shared_ptr<const RowEncoder> encoder_;
  std::vector<RowStore> stores_;
  std::int64_t rows_ = 0;
  std::vector<bool> removed_;  // [rows_]
  Index removed_count_ = 0;
  std::optional<std::unordered_map<std::uint64_t, std::int64_t>> places_;
  std::optional<File> file_;
};

}  // namespace nibble
