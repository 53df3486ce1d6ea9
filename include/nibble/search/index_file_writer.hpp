// Writing the file of a binary index: its start, its records, its root.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <nibble/core/function_ref.hpp>
#include <nibble/search/index_file.hpp>

namespace nibble::index_file {

/// Writes some bytes from a place of the file on.
using WriteAt = FunctionRef<void(std::uint64_t offset, std::span<const std::byte> bytes)>;

/// Writes all that is before the first record, and returns the root of a file without records.
[[nodiscard]] inline Root write_start(const IndexParameters& parameters, WriteAt write_at) {
  std::vector<float> floats;
  for (const auto* values : {&parameters.centre, &parameters.centroids}) {
    floats.insert(floats.end(), values->begin(), values->end());
  }
  const auto bytes = std::as_bytes(std::span(floats));
  FileHeader header;
  header.dims = static_cast<std::uint32_t>(parameters.dims);
  header.code_bits = static_cast<std::uint32_t>(parameters.code_bits);
  header.kept = static_cast<std::uint32_t>(parameters.kept);
  header.lists = static_cast<std::uint32_t>(parameters.lists());
  header.seed = parameters.seed;
  header.parameters_checksum = checksum(bytes);
  header.checksum = checksum_before(header);
  Root root;
  root.chain = header.checksum;
  root.end = parameters_offset + round_up<std::uint64_t>(bytes.size(), part_alignment);
  std::vector<std::byte> start(static_cast<std::size_t>(root.end));
  std::memcpy(start.data(), &header, sizeof header);
  if (!bytes.empty()) std::memcpy(start.data() + parameters_offset, bytes.data(), bytes.size());
  write_at(0, start);
  return root;
}

/// Writes the root to its place; nothing counts before.
inline void write_root(Root& root, WriteAt write_at) {
  root.checksum = checksum_before(root);
  write_at(root_offset(root.generation), std::as_bytes(std::span(&root, 1)));
}

namespace detail {

/// Fills in what the header says of the payload.
inline void write_record(RecordHeader header, std::span<const std::byte> payload,
                         const RecordLayout& layout, Root& root, WriteAt write_at) {
  header.first_row = root.rows;
  for (std::size_t part = 0; part < layout.sizes.size(); ++part) {
    const auto bytes = payload.subspan(static_cast<std::size_t>(layout.offsets[part]),
                                       static_cast<std::size_t>(layout.sizes[part]));
    header.checksums[part] = bytes.empty() ? 0 : checksum(bytes);
  }
  header.checksum = checksum_before(header);
  write_at(root.end, std::as_bytes(std::span(&header, 1)));
  write_at(root.end + sizeof header, payload);
  root.end += sizeof header + payload.size();
  root.chain = join_chain(root.chain, header);
  ++root.records;
}

}  // namespace detail

/// Appends rows, whose parts lie in the payload as the layout says.
inline void write_rows(Index count, std::span<const std::byte> payload, const RecordLayout& layout,
                       Root& root, WriteAt write_at) {
  RecordHeader header;
  header.tag = rows_tag;
  header.count = static_cast<std::uint64_t>(count);
  header.runs = layout.sizes[Lists] / sizeof(ListRun);
  detail::write_record(header, payload, layout, root, write_at);
  root.rows += header.count;
}

/// Appends that the rows at these places are removed.
inline void write_removed(std::span<const std::uint64_t> places, Root& root, WriteAt write_at) {
  RecordHeader header;
  header.tag = removed_tag;
  header.count = static_cast<std::uint64_t>(places.size());
  const RecordLayout layout = *layout_record(header.count, 0, removed_widths);
  std::vector<std::byte> payload(static_cast<std::size_t>(layout.size));
  if (!places.empty()) std::memcpy(payload.data(), places.data(), places.size_bytes());
  detail::write_record(header, payload, layout, root, write_at);
  root.removed += header.count;
}

}  // namespace nibble::index_file
