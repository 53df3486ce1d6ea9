// The file of a binary index: what lies where, and reading one that may be damaged or hostile.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
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
#include <nibble/search/row_encoder.hpp>

// Little-endian; every part starts at a multiple of 64 bytes, the rest before it is zeros:
//   0     FileHeader
//   512   Root, of even generations
//   1024  Root, of odd generations
//   4096  parameters: float32 centre [dims], minima [dims], steps [dims], as far as they are kept
//   then  records, one after the other up to Root::end: RecordHeader and its parts
//           "rows":    ids uint64 [count], codes [count][code_bytes],
//                      corrections float32 [count][2], kept vectors [count][dims]
//           "removed": places of rows uint64 [count]
// What is behind Root::end is of no account: a writer appends there, forces it to the disk, and
// only then writes the other root. So at any moment one root is whole and all that it speaks of
// too.
namespace nibble::index_file {

inline constexpr std::uint64_t part_alignment = 64;
inline constexpr std::uint64_t parameters_offset = 4096;
inline constexpr std::array<char, 8> magic{'n', 'i', 'b', 'b', 'l', 'e', 'B', 'X'};
inline constexpr std::uint32_t version = 1;

struct FileHeader {
  std::array<char, 8> magic = index_file::magic;
  std::uint32_t version = index_file::version;
  std::uint32_t dims = 0;
  std::uint32_t code_bits = 0;
  std::uint32_t kept = 0;
  std::uint64_t seed = 0;
  std::uint64_t parameters_checksum = 0;
  std::uint64_t checksum = 0;  // of the bytes before it
};
static_assert(sizeof(FileHeader) == 48);

/// What the file holds at some time.
struct Root {
  std::uint64_t generation = 0;  // of which the highest counts
  std::uint64_t end = 0;         // of the last record
  std::uint64_t rows = 0;        // in all records, removed ones too
  std::uint64_t removed = 0;     // of these
  std::uint64_t records = 0;
  std::uint64_t chain = 0;  // checksum of the record headers, each joined with that of those before
  std::uint64_t unused = 0;
  std::uint64_t checksum = 0;  // of the bytes before it

  friend bool operator==(const Root&, const Root&) = default;
};
static_assert(sizeof(Root) == 64);

/// Places of the parts of a record, from the end of its header, and where it ends.
enum Part : std::size_t { Ids, Codes, Corrections, Kept };
struct RecordLayout {
  std::array<std::uint64_t, 4> offsets{};
  std::array<std::uint64_t, 4> sizes{};
  std::uint64_t size = 0;
};

inline constexpr std::array<char, 8> rows_tag{'r', 'o', 'w', 's'};
inline constexpr std::array<char, 8> removed_tag{'r', 'e', 'm', 'o', 'v', 'e', 'd'};

struct RecordHeader {
  std::array<char, 8> tag{};
  std::uint64_t count = 0;
  std::uint64_t first_row = 0;               // rows before this record
  std::array<std::uint64_t, 4> checksums{};  // of the parts; 0 where there is none
  std::uint64_t checksum = 0;                // of the bytes before it
};
static_assert(sizeof(RecordHeader) == 64);

template <class T>
[[nodiscard]] std::uint64_t checksum_before(const T& header) noexcept {
  return checksum(
      std::as_bytes(std::span(&header, 1)).first(sizeof header - sizeof(std::uint64_t)));
}

[[nodiscard]] constexpr std::uint64_t root_offset(std::uint64_t generation) noexcept {
  return generation % 2 == 0 ? 512 : 1024;
}

/// Nothing where the sizes overflow.
[[nodiscard]] inline std::optional<RecordLayout> layout_record(
    std::uint64_t count, const std::array<std::uint64_t, 4>& widths) noexcept {
  RecordLayout layout;
  for (std::size_t part = 0; part < widths.size(); ++part) {
    layout.offsets[part] = layout.size;
    const auto size = checked_multiply(count, widths[part]);
    if (!size || *size > std::uint64_t{1} << 60) return std::nullopt;
    layout.sizes[part] = *size;
    layout.size += round_up(*size, part_alignment);
  }
  return layout;
}

/// Bytes of a row in each part.
[[nodiscard]] inline std::array<std::uint64_t, 4> row_widths(const RowEncoder& encoder) noexcept {
  const RowBytes bytes = encoder.row_bytes();
  return {sizeof(std::uint64_t), static_cast<std::uint64_t>(bytes.code),
          static_cast<std::uint64_t>(bytes.correction), static_cast<std::uint64_t>(bytes.vector)};
}
inline constexpr std::array<std::uint64_t, 4> removed_widths{sizeof(std::uint64_t), 0, 0, 0};

/// A record in a mapped file: its header, and its parts as they lie there.
struct RecordView {
  RecordHeader header;
  std::array<std::span<const std::byte>, 4> parts;
};

/// A whole file.
struct FileView {
  IndexParameters parameters;
  Root root;
  std::vector<RecordView> records;
};

/// Joins the checksum of the record headers so far with the next one.
[[nodiscard]] inline std::uint64_t join_chain(std::uint64_t chain,
                                              const RecordHeader& record) noexcept {
  const std::array<std::uint64_t, 2> both{chain, record.checksum};
  return checksum(std::as_bytes(std::span(both)));
}

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

/// How many floats the parameters are.
[[nodiscard]] constexpr std::uint64_t parameter_floats(std::uint64_t dims, bool has_centre,
                                                       bool has_ranges) noexcept {
  return dims * ((has_centre ? 1U : 0U) + (has_ranges ? 2U : 0U));
}

/// The root that counts, from the first bytes of a file. Throws Error where none is whole.
[[nodiscard]] inline Root find_root(std::span<const std::byte> start, std::string_view source) {
  std::optional<Root> root;
  for (const std::uint64_t generation : {0U, 1U}) {
    const auto candidate = detail::read<Root>(start, root_offset(generation));
    if (candidate.checksum != checksum_before(candidate) ||
        candidate.generation % 2 != generation) {
      continue;
    }
    if (!root || candidate.generation > root->generation) root = candidate;
  }
  if (!root) fail(source, ": both roots are damaged");
  return *root;
}

/// Reads all but the parts of records. Throws Error, naming `source` and the place, for anything
/// that is not as it should be.
[[nodiscard]] inline FileView read(std::span<const std::byte> file, std::string_view source) {
  if (file.size() < sizeof magic ||
      !std::ranges::equal(std::as_bytes(std::span(magic)), file.first(sizeof magic))) {
    fail(source, ": is not a nibble index");
  }
  if (file.size() < parameters_offset) {
    fail(source, ": is truncated: holds ", file.size(), " bytes, expected at least ",
         parameters_offset);
  }
  const auto header = detail::read<FileHeader>(file, 0);
  if (header.version != version) {
    fail(source, ": version ", header.version, " is unknown, expected ", version);
  }
  if (header.checksum != checksum_before(header)) fail(source, ": the header is damaged");
  FileView view;
  view.root = find_root(file, source);
  if (view.root.end > file.size()) {
    fail(source, ": is truncated: holds ", file.size(), " bytes, expected ", view.root.end);
  }

  // What the header holds is bounded before it is used: a checksum keeps out accidents only.
  IndexParameters& parameters = view.parameters;
  if (header.dims < 1 || header.dims > RaBitQ::max_dims || header.code_bits > max_code_bits ||
      header.kept >= kept_vectors_names.size()) {
    fail(source, ": the header is not one of an index");
  }
  parameters.dims = static_cast<Index>(header.dims);
  parameters.code_bits = static_cast<int>(header.code_bits);
  parameters.kept = static_cast<KeptVectors>(header.kept);
  parameters.seed = header.seed;
  const bool has_centre = parameters.code_bits > 0;
  const bool has_ranges = parameters.kept == KeptVectors::Int8;
  const std::uint64_t size = parameter_floats(header.dims, has_centre, has_ranges) * sizeof(float);
  std::uint64_t at = parameters_offset + round_up(size, part_alignment);
  if (at > view.root.end) {
    fail(source, ": the root ends at byte ", view.root.end, ", the parameters at ", at);
  }
  auto floats = file.subspan(parameters_offset, static_cast<std::size_t>(size));
  if (header.parameters_checksum != checksum(floats)) fail(source, ": the parameters are damaged");
  const auto take = [&](bool present) {
    return detail::take_floats(floats, present ? header.dims : 0);
  };
  parameters.centre = take(has_centre);
  parameters.minima = take(has_ranges);
  parameters.steps = take(has_ranges);
  const std::optional<RowEncoder> encoder = [&]() -> std::optional<RowEncoder> {
    try {
      return RowEncoder(parameters);
    } catch (const Error& error) {
      fail(source, ": ", error.what());
    }
  }();

  std::uint64_t rows = 0, chain = 0;
  while (at < view.root.end) {
    const std::string where = concat(source, ": record ", view.records.size(), " at byte ", at);
    if (view.root.end - at < sizeof(RecordHeader)) fail(where, ": is cut off");
    RecordView record{detail::read<RecordHeader>(file, at), {}};
    if (record.header.checksum != checksum_before(record.header)) {
      fail(where, ": its header is damaged");
    }
    const bool is_rows = record.header.tag == rows_tag;
    if (!is_rows && record.header.tag != removed_tag) fail(where, ": its kind is unknown");
    if (record.header.first_row != rows) {
      fail(where, ": follows ", rows, " rows, expected ", record.header.first_row);
    }
    at += sizeof(RecordHeader);
    const auto layout =
        layout_record(record.header.count, is_rows ? row_widths(*encoder) : removed_widths);
    if (!layout || layout->size > view.root.end - at) {
      fail(where, ": its ", record.header.count, " rows do not fit into the file");
    }
    for (std::size_t part = 0; part < record.parts.size(); ++part) {
      record.parts[part] = file.subspan(static_cast<std::size_t>(at + layout->offsets[part]),
                                        static_cast<std::size_t>(layout->sizes[part]));
    }
    at += layout->size;
    if (is_rows) rows += record.header.count;
    chain = join_chain(chain, record.header);
    view.records.push_back(std::move(record));
  }
  if (at != view.root.end || rows != view.root.rows || chain != view.root.chain ||
      view.records.size() != view.root.records) {
    fail(source, ": the records are not those of the root");
  }
  return view;
}

/// Compares a record's parts with their checksums. Throws Error, naming what is damaged.
inline void verify(const RecordView& record, std::size_t number, std::string_view source) {
  constexpr std::array<std::string_view, 4> names{"ids", "codes", "corrections", "vectors"};
  for (std::size_t part = 0; part < record.parts.size(); ++part) {
    const auto bytes = record.parts[part];
    const std::uint64_t found = bytes.empty() ? 0 : checksum(bytes);
    if (found == record.header.checksums[part]) continue;
    fail(source, ": record ", number, ": its ", names[part], " are damaged");
  }
}

}  // namespace nibble::index_file
