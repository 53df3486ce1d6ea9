// Any bytes as the file of a binary index: refused with an Error, or all that it holds can be
// searched. Checksums are made right first where the last byte is odd, or nothing would get past
// them.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/thread_pool.hpp>
#include <nibble/search/binary_index.hpp>

namespace {

using namespace nibble;
using Bytes = std::vector<std::byte>;

void check(bool good) {
  if (!good) __builtin_trap();
}

/// A file in memory, with a name.
class MemoryFile {
 public:
  explicit MemoryFile(const Bytes& bytes) : descriptor_(::memfd_create("index", MFD_CLOEXEC)) {
    check(descriptor_ >= 0);
    check(::write(descriptor_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

/// Replaces what lies at a place, where the file reaches that far, by what `change` makes of it.
template <class T, class Change>
void change_at(Bytes& file, std::uint64_t at, Change change) {
  if (at > file.size() || file.size() - at < sizeof(T)) return;
  auto value = index_file::detail::read<T>(file, at);
  change(value);
  std::memcpy(file.data() + at, &value, sizeof value);
}

/// Makes the checksums of parameters, header, record headers, their parts and roots right, as far
/// as the file makes sense.
void mend(Bytes& file) {
  if (file.size() < index_file::parameters_offset) return;
  std::uint64_t at = index_file::parameters_offset;
  index_file::Parts<std::uint64_t> widths{};
  std::uint64_t chain = 0;
  change_at<index_file::FileHeader>(file, 0, [&](index_file::FileHeader& header) {
    header.dims %= 64;
    header.code_bits %= max_code_bits + 2;
    header.kept %= kept_vectors_names.size() + 1;
    header.lists %= 16;
    const std::uint64_t size = index_file::parameters_size(header);
    if (size > file.size() - at) return;
    const auto parameters = std::span(file).subspan(at, static_cast<std::size_t>(size));
    header.parameters_checksum = checksum(parameters);
    header.checksum = index_file::checksum_before(header);
    chain = header.checksum;
    at += round_up(size, index_file::part_alignment);
    IndexParameters plain;
    plain.dims = static_cast<Index>(header.dims);
    plain.code_bits = static_cast<int>(header.code_bits);
    plain.kept = KeptVectors::None;
    plain.centre.assign(plain.code_bits > 0 ? header.dims : 0, 0.0F);
    try {
      widths = index_file::row_widths(RowEncoder(plain));
    } catch (const Error&) {
      return;
    }
    if (header.kept == 1) widths[index_file::Kept] = sizeof(float) + header.dims;
    if (header.kept == 2) widths[index_file::Kept] = header.dims * sizeof(float);
  });
  while (at < file.size() && file.size() - at >= sizeof(index_file::RecordHeader)) {
    const std::uint64_t begin = at + sizeof(index_file::RecordHeader);
    std::uint64_t size = 0;
    change_at<index_file::RecordHeader>(file, at, [&](index_file::RecordHeader& header) {
      const bool removes = header.tag == index_file::removed_tag;
      const auto layout = index_file::layout_record(header.count, header.runs,
                                                    removes ? index_file::removed_widths : widths);
      if (layout && layout->size <= file.size() - begin) {
        size = layout->size;
        for (std::size_t part = 0; part < layout->sizes.size(); ++part) {
          const auto bytes =
              std::span(file).subspan(static_cast<std::size_t>(begin + layout->offsets[part]),
                                      static_cast<std::size_t>(layout->sizes[part]));
          header.checksums[part] = bytes.empty() ? 0 : checksum(bytes);
        }
      }
      header.checksum = index_file::checksum_before(header);
      chain = index_file::join_chain(chain, header);
    });
    at = begin + size;
  }
  for (const std::uint64_t generation : {0U, 1U}) {
    change_at<index_file::Root>(file, index_file::root_offset(generation),
                                [&](index_file::Root& root) {
                                  if (root.unused % 2 == 0) root.chain = chain;
                                  root.unused = 0;
                                  root.checksum = index_file::checksum_before(root);
                                });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  Bytes bytes(input.begin(), input.end());
  if (!bytes.empty() && (data[size - 1] & 1) != 0) mend(bytes);
  const MemoryFile file(bytes);
  static ThreadPool pool(1);
  try {
    BinaryIndex index = BinaryIndex::open(file.path());
    check(index.size() >= 0 && index.size() <= index.rows() && index.bytes() <= size);
    const Matrix queries = Matrix::Constant(2, index.parameters().dims, 0.5F);
    for (const std::size_t probes : {std::size_t{1}, std::size_t{3}}) {
      SearchOptions options;
      options.count = 5;
      options.oversampling = probes == 1 ? 0 : 2;
      options.probes = probes;
      for (const auto& found : index.search(queries, options, pool)) {
        check(found.size() <= std::min(options.count, static_cast<std::size_t>(index.size())));
        for (const Neighbour& each : found) check(each.row >= 0 && each.row < index.rows());
      }
    }
    const std::vector<std::uint64_t> ids{1, 2, 3};
    static_cast<void>(index.remove(ids));
    BinaryIndex::verify(file.path());
  } catch (const Error& error) {
    check(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
