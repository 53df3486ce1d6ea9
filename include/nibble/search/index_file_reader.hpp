// Reading the file of a binary index, which may be damaged or hostile.
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
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/io/checksum.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/mapped_file.hpp>
#include <nibble/search/index_file.hpp>
#include <nibble/search/rabitq.hpp>
#include <nibble/search/row_encoder.hpp>

namespace nibble::index_file {

/// A record in a mapped file: its header, and its parts as they lie there.
struct RecordView {
  RecordHeader header;
  Parts<std::span<const std::byte>> parts;
};

/// A whole file.
struct FileView {
  std::shared_ptr<const RowEncoder> encoder;  // by the file's parameters
  Root root;
  std::vector<RecordView> records;
};

namespace detail {

template <class T>
[[nodiscard]] T read(std::span<const std::byte> bytes, std::uint64_t offset) noexcept {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

[[nodiscard]] inline std::vector<float> take_floats(std::span<const std::byte>& bytes,
                                                    std::size_t count) {
  std::vector<float> values(count);
  if (count > 0) std::memcpy(values.data(), bytes.data(), count * sizeof(float));
  bytes = bytes.subspan(count * sizeof(float));
  return values;
}

}  // namespace detail

/// One of the two roots, from the first bytes of a file; nothing where it is not whole.
[[nodiscard]] inline std::optional<Root> read_root(std::span<const std::byte> start,
                                                   std::uint64_t generation) noexcept {
  const auto root = detail::read<Root>(start, root_offset(generation));
  const bool whole = root.checksum == checksum_before(root) && root.generation % 2 == generation;
  return whole ? std::optional(root) : std::nullopt;
}

/// The root that counts, from the first bytes of a file. Throws Error where none is whole, or its
/// generation is beyond all that can be.
[[nodiscard]] inline Root find_root(std::span<const std::byte> start, std::string_view source) {
  const std::optional<Root> even = read_root(start, 0), odd = read_root(start, 1);
  if (!even && !odd) fail(source, ": both roots are damaged");
  const Root& root = !odd || (even && even->generation > odd->generation) ? *even : *odd;
  if (root.generation > max_generation) {
    fail(source, ": the root is of generation ", root.generation, ", expected at most ",
         max_generation);
  }
  return root;
}

/// Throws Error where a root was written and is not whole. A commit writes it in one piece, last of
/// all, so it was damaged later, and what was committed last may be what is missing.
inline void check_roots(std::span<const std::byte> start, std::string_view source) {
  for (const std::uint64_t generation : {0U, 1U}) {
    const auto bytes =
        start.subspan(static_cast<std::size_t>(root_offset(generation)), sizeof(Root));
    const bool written =
        std::ranges::any_of(bytes, [](std::byte byte) { return byte != std::byte{0}; });
    if (written && !read_root(start, generation)) {
      fail(source, ": the root of ", generation == 0 ? "even" : "odd",
           " generations is damaged; what was committed last may be lost, and the rest is what an "
           "index that is saved anew holds");
    }
  }
}

/// Checks a record's lists, on which searches rely. Throws Error, naming `where`.
inline void check_runs(const RecordView& record, std::uint64_t lists, std::string_view where) {
  const std::span<const std::byte> part = record.parts[Lists];
  if (lists == 0 && part.empty()) return;
  if (!part.empty() && record.header.checksums[Lists] != checksum(part)) {
    fail(where, ": its lists are damaged");
  }
  std::uint64_t next_list = 0, end = 0;
  for (std::uint64_t i = 0; i < record.header.runs; ++i) {
    const auto run = detail::read<ListRun>(part, i * sizeof(ListRun));
    if (run.list < next_list || run.list >= lists || run.end <= end) {
      fail(where, ": run ", i, " of its lists is not in order");
    }
    next_list = run.list + 1;
    end = run.end;
  }
  if (end != record.header.count) {
    fail(where, ": its lists hold ", end, " rows, expected ", record.header.count);
  }
}

namespace detail {

/// The parameters, and the byte at which they end.
[[nodiscard]] inline std::pair<IndexParameters, std::uint64_t> read_parameters(
    std::span<const std::byte> file, const FileHeader& header, const Root& root,
    std::string_view source) {
  // What the header holds is bounded before it is used: a checksum keeps out accidents only.
  if (header.dims < 1 || header.dims > RaBitQ::max_dims || header.code_bits > max_code_bits ||
      header.kept >= kept_vectors_names.size() || header.lists > max_lists) {
    fail(source, ": the header is not one of an index");
  }
  IndexParameters parameters;
  parameters.dims = static_cast<Index>(header.dims);
  parameters.code_bits = static_cast<int>(header.code_bits);
  parameters.kept = static_cast<KeptVectors>(header.kept);
  parameters.seed = header.seed;
  const std::uint64_t size = parameters_size(header);
  const std::uint64_t end = parameters_offset + round_up(size, part_alignment);
  if (end > root.end) {
    fail(source, ": the root ends at byte ", root.end, ", the parameters at ", end);
  }
  auto floats = file.subspan(parameters_offset, static_cast<std::size_t>(size));
  if (header.parameters_checksum != checksum(floats)) fail(source, ": the parameters are damaged");
  const auto take = [&](std::size_t vectors) { return take_floats(floats, vectors * header.dims); };
  parameters.centre = take(parameters.code_bits > 0 ? 1 : 0);
  parameters.centroids = take(header.lists);
  return {std::move(parameters), end};
}

/// The record at byte `at`, which becomes its end; `rows` are before it.
[[nodiscard]] inline RecordView read_record(std::span<const std::byte> file, std::uint64_t& at,
                                            const Root& root, std::uint64_t rows,
                                            const RowEncoder& encoder, const std::string& where) {
  if (root.end - at < sizeof(RecordHeader)) fail(where, ": is cut off");
  RecordView record{read<RecordHeader>(file, at), {}};
  const RecordHeader& header = record.header;
  if (header.checksum != checksum_before(header)) fail(where, ": its header is damaged");
  const bool is_rows = header.tag == rows_tag;
  if (!is_rows && header.tag != removed_tag) fail(where, ": its kind is unknown");
  if (header.first_row != rows) {
    fail(where, ": follows ", rows, " rows, expected ", header.first_row);
  }
  at += sizeof header;
  const auto layout =
      layout_record(header.count, header.runs, is_rows ? row_widths(encoder) : removed_widths);
  if (!layout || layout->size > root.end - at) {
    fail(where, ": its ", header.count, " rows do not fit into the file");
  }
  for (std::size_t part = 0; part < record.parts.size(); ++part) {
    record.parts[part] = file.subspan(static_cast<std::size_t>(at + layout->offsets[part]),
                                      static_cast<std::size_t>(layout->sizes[part]));
  }
  at += layout->size;
  if (is_rows) {
    check_runs(record, static_cast<std::uint64_t>(encoder.parameters().lists()), where);
  }
  return record;
}

/// The header of a file that is long enough to hold roots.
[[nodiscard]] inline FileHeader read_header(std::span<const std::byte> file,
                                            std::string_view source) {
  if (file.size() < sizeof magic ||
      !std::ranges::equal(std::as_bytes(std::span(magic)), file.first(sizeof magic))) {
    fail(source, ": is not a nibble index");
  }
  if (file.size() < parameters_offset) {
    fail(source, ": is truncated: holds ", file.size(), " bytes, expected at least ",
         parameters_offset);
  }
  const auto header = read<FileHeader>(file, 0);
  if (header.version != version) {
    fail(source, ": version ", header.version, " is unknown, expected ", version);
  }
  if (header.checksum != checksum_before(header)) fail(source, ": the header is damaged");
  return header;
}

/// What a file holds by one of its roots.
[[nodiscard]] inline FileView read_records(std::span<const std::byte> file,
                                           const FileHeader& header, const Root& root,
                                           std::string_view source) {
  FileView view;
  view.root = root;
  if (view.root.end > file.size()) {
    fail(source, ": is truncated: holds ", file.size(), " bytes, expected ", view.root.end);
  }
  auto [parameters, at] = read_parameters(file, header, view.root, source);
  try {
    view.encoder = std::make_shared<const RowEncoder>(std::move(parameters));
  } catch (const Error& error) {
    fail(source, ": ", error.what());
  }
  std::uint64_t rows = 0, chain = header.checksum;
  while (at < view.root.end) {
    const std::string where = concat(source, ": record ", view.records.size(), " at byte ", at);
    view.records.push_back(read_record(file, at, view.root, rows, *view.encoder, where));
    const RecordHeader& record = view.records.back().header;
    if (record.tag == rows_tag) rows += record.count;
    chain = join_chain(chain, record);
  }
  if (at != view.root.end || rows != view.root.rows || chain != view.root.chain ||
      view.records.size() != view.root.records) {
    fail(source, ": the records are not those of the root");
  }
  return view;
}

}  // namespace detail

/// Reads all but the parts of records, of which it reads the lists. Throws Error, naming `source`
/// and the place, for anything that is not as it should be.
[[nodiscard]] inline FileView read(std::span<const std::byte> file, std::string_view source) {
  const FileHeader header = detail::read_header(file, source);
  return detail::read_records(file, header, find_root(file, source), source);
}

/// A mapped file, and what it holds.
struct MappedView {
  std::shared_ptr<const MappedFile> file;
  FileView view;
};

/// Maps a file, which another process may be appending to, and reads it as `read`.
[[nodiscard]] inline MappedView map(const std::filesystem::path& path) {
  const std::string source = path_text(path);
  for (std::size_t size_before = 0;;) {
    auto file = MappedFile::open(path);
    const auto bytes = file->bytes();
    const FileHeader header = detail::read_header(bytes, source);
    const Root root = find_root(bytes, source);
    // The root may be younger than the mapping's size, but then the file has grown.
    if (root.end > bytes.size() && bytes.size() > size_before) {
      size_before = bytes.size();
      continue;
    }
    return {file, detail::read_records(bytes, header, root, source)};
  }
}

/// Compares a record's parts with their checksums. Throws Error, naming what is damaged.
inline void verify(const RecordView& record, std::size_t number, std::string_view source) {
  for (std::size_t part = 0; part < record.parts.size(); ++part) {
    const auto bytes = record.parts[part];
    const std::uint64_t found = bytes.empty() ? 0 : checksum(bytes);
    if (found == record.header.checksums[part]) continue;
    fail(source, ": record ", number, ": its ", part_names[part], " are damaged");
  }
}

}  // namespace nibble::index_file
