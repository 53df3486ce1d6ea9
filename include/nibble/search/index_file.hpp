// The file of a binary index: what lies where.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include <nibble/core/checked.hpp>
#include <nibble/io/checksum.hpp>
#include <nibble/search/row_encoder.hpp>

// Little-endian; every part starts at a multiple of 64 bytes, the rest before it is zeros:
//   0     FileHeader
//   512   Root, of even generations
//   1024  Root, of odd generations
//   4096  parameters: float32 centre [dims], centroids [lists][dims], as far as there are any
//   then  records, one after the other up to Root::end: RecordHeader and its parts
//           "rows":    lists ListRun [runs], ids uint64 [count], codes [count][code_bytes],
//                      corrections float32 [count][2], kept vectors [count]: float32 [dims], or
//                      float32 scale and int8 [dims]
//           "removed": places of rows uint64 [count], in the part of the ids
// Where there are lists, the rows of a record are sorted by them, and its runs say which rows are
// whose; a search reads only the runs of the lists that it probes.
// What is behind Root::end is of no account: a writer appends there, forces it to the disk, and
// only then writes the other root. So at any moment one root is whole and all that it speaks of
// too.
namespace nibble::index_file {

inline constexpr std::uint64_t part_alignment = 64;
inline constexpr std::uint64_t parameters_offset = 4096;
inline constexpr std::array<char, 8> magic{'n', 'i', 'b', 'b', 'l', 'e', 'B', 'X'};
inline constexpr std::uint32_t version = 3;

struct FileHeader {
  std::array<char, 8> magic = index_file::magic;
  std::uint32_t version = index_file::version;
  std::uint32_t dims = 0;
  std::uint32_t code_bits = 0;
  std::uint32_t kept = 0;
  std::uint32_t lists = 0;
  std::uint32_t unused = 0;
  std::uint64_t seed = 0;
  std::uint64_t parameters_checksum = 0;
  std::uint64_t checksum = 0;  // of the bytes before it
};
static_assert(sizeof(FileHeader) == 56);

/// Bytes that the parameters take; below 2^38 where dims and lists are within their limits.
[[nodiscard]] constexpr std::uint64_t parameters_size(const FileHeader& header) noexcept {
  const std::uint64_t centre = header.code_bits > 0 ? 1 : 0;
  return (centre + header.lists) * header.dims * sizeof(float);
}

/// No file gets there; a hostile one must not keep its next generation from being the highest.
inline constexpr std::uint64_t max_generation = std::uint64_t{1} << 62;

/// What the file holds at some time.
struct Root {
  std::uint64_t generation = 0;  // of which the highest counts
  std::uint64_t end = 0;         // of the last record
  std::uint64_t rows = 0;        // in all records, removed ones too
  std::uint64_t removed = 0;     // of these
  std::uint64_t records = 0;
  std::uint64_t chain = 0;  // the header's checksum, joined with that of each record's header
  std::uint64_t unused = 0;
  std::uint64_t checksum = 0;  // of the bytes before it

  friend bool operator==(const Root&, const Root&) = default;
};
static_assert(sizeof(Root) == 64);

/// The parts of a record, in this order.
enum Part : std::size_t { Lists, Ids, Codes, Corrections, Kept };
inline constexpr std::array<std::string_view, 5> part_names{"lists", "ids", "codes", "corrections",
                                                            "vectors"};
/// Something for each part.
template <class T>
using Parts = std::array<T, part_names.size()>;

/// Places of the parts of a record, from the end of its header, and where it ends.
struct RecordLayout {
  Parts<std::uint64_t> offsets{};
  Parts<std::uint64_t> sizes{};
  std::uint64_t size = 0;
};

/// Rows of one list in a record: from where the run before ends, or from the first.
struct ListRun {
  std::uint64_t list = 0;
  std::uint64_t end = 0;
};

inline constexpr std::array<char, 8> rows_tag{'r', 'o', 'w', 's'};
inline constexpr std::array<char, 8> removed_tag{'r', 'e', 'm', 'o', 'v', 'e', 'd'};

struct RecordHeader {
  std::array<char, 8> tag{};
  std::uint64_t count = 0;
  std::uint64_t runs = 0;
  std::uint64_t first_row = 0;       // rows before this record
  Parts<std::uint64_t> checksums{};  // of the parts; 0 where there is none
  std::array<std::uint64_t, 6> unused{};
  std::uint64_t checksum = 0;  // of the bytes before it
};
static_assert(sizeof(RecordHeader) == 128);

template <class T>
[[nodiscard]] std::uint64_t checksum_before(const T& header) noexcept {
  return checksum(
      std::as_bytes(std::span(&header, 1)).first(sizeof header - sizeof(std::uint64_t)));
}

[[nodiscard]] constexpr std::uint64_t root_offset(std::uint64_t generation) noexcept {
  return generation % 2 == 0 ? 512 : 1024;
}

/// The widths are bytes of a row; of the lists' part, of a run. Nothing where the sizes overflow.
[[nodiscard]] inline std::optional<RecordLayout> layout_record(
    std::uint64_t count, std::uint64_t runs, const Parts<std::uint64_t>& widths) noexcept {
  RecordLayout layout;
  for (std::size_t part = 0; part < widths.size(); ++part) {
    layout.offsets[part] = layout.size;
    const auto size = checked_multiply(part == Lists ? runs : count, widths[part]);
    if (!size || *size > std::uint64_t{1} << 60) return std::nullopt;
    layout.sizes[part] = *size;
    layout.size += round_up(*size, part_alignment);
  }
  return layout;
}

/// Widths of the parts of rows, and of removed ones.
[[nodiscard]] inline Parts<std::uint64_t> row_widths(const RowEncoder& encoder) noexcept {
  const RowBytes bytes = encoder.row_bytes();
  return {sizeof(ListRun), sizeof(std::uint64_t), static_cast<std::uint64_t>(bytes.code),
          static_cast<std::uint64_t>(bytes.correction), static_cast<std::uint64_t>(bytes.vector)};
}
inline constexpr Parts<std::uint64_t> removed_widths{0, sizeof(std::uint64_t), 0, 0, 0};

/// Joins the checksum of the headers so far with the next one.
[[nodiscard]] inline std::uint64_t join_chain(std::uint64_t chain,
                                              const RecordHeader& record) noexcept {
  const std::array<std::uint64_t, 2> both{chain, record.checksum};
  return checksum(std::as_bytes(std::span(both)));
}

}  // namespace nibble::index_file
