// Packed sign bits in other programs' files: FAISS's IndexBinaryFlat, and .npy.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/mapped_file.hpp>
#include <nibble/io/output_file.hpp>
#include <nibble/search/sign_codes.hpp>

namespace nibble {

namespace packed_bits_detail {

/// Takes fields off the start of a file.
class FieldReader {
 public:
  FieldReader(std::span<const std::byte> bytes, std::string source)
      : bytes_(bytes), source_(std::move(source)) {}

  template <class T>
  [[nodiscard]] T take(const char* field) {
    if (bytes_.size() < sizeof(T)) fail(source_, ": ends before its field ", field);
    T value;
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_ = bytes_.subspan(sizeof value);
    return value;
  }

  [[nodiscard]] std::string_view take_text(std::size_t size) {
    if (bytes_.size() < size) fail(source_, ": ends within its header");
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()), size);
    bytes_ = bytes_.subspan(size);
    return text;
  }

  /// The rest, [rows][cols], all of it.
  [[nodiscard]] ByteMatrix take_matrix(std::uint64_t rows, std::uint64_t cols) const {
    const auto size = checked_multiply(rows, cols);
    if (!size || *size != bytes_.size()) {
      fail(source_, ": ", bytes_.size(), " bytes of codes, expected ", rows, " x ", cols);
    }
    constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<Index>::max());
    if (rows > most || cols > most) fail(source_, ": a shape of ", rows, " x ", cols);
    ByteMatrix matrix(static_cast<Index>(rows), static_cast<Index>(cols));
    if (!bytes_.empty()) std::memcpy(matrix.data(), bytes_.data(), bytes_.size());
    return matrix;
  }

  [[nodiscard]] const std::string& source() const noexcept { return source_; }

 private:
  std::span<const std::byte> bytes_;
  std::string source_;
};

template <class T>
void put(std::string& bytes, T value) {
  char raw[sizeof value];
  std::memcpy(raw, &value, sizeof value);
  bytes.append(raw, sizeof value);
}

inline void write_file(const std::filesystem::path& path, std::string_view header,
                       const ByteMatrix& bits) {
  OutputFile file(path);
  file.write(std::as_bytes(std::span<const char>(header)));
  file.write(std::as_bytes(std::span(bits.data(), static_cast<std::size_t>(bits.size()))));
  file.commit();
}

/// What follows a key of the dictionary in an .npy header, without leading spaces.
[[nodiscard]] inline std::string_view npy_value(std::string_view header, std::string_view key,
                                                const std::string& source) {
  const std::string quoted = concat("'", key, "':");
  const std::size_t at = header.find(quoted);
  if (at == std::string_view::npos) fail(source, ": the header has no ", key);
  header.remove_prefix(at + quoted.size());
  header.remove_prefix(std::min(header.find_first_not_of(' '), header.size()));
  return header;
}

}  // namespace packed_bits_detail

/// Reads a FAISS file of an IndexBinaryFlat: codes [n][dims / 8], whose ids are their places.
/// Throws Error for another kind of index, or a file that is damaged.
[[nodiscard]] inline ByteMatrix read_faiss_binary_flat(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  packed_bits_detail::FieldReader reader(file->bytes(), path_text(path));
  const std::string_view kind = reader.take_text(4);
  if (kind != "IBxF") {
    fail(reader.source(), ": expected an IndexBinaryFlat (IBxF), found ", in_quotes(kind));
  }
  const auto dims = reader.take<std::int32_t>("d");
  const auto code_size = reader.take<std::int32_t>("code_size");
  const auto count = reader.take<std::int64_t>("ntotal");
  static_cast<void>(reader.take<std::uint8_t>("is_trained"));
  static_cast<void>(reader.take<std::int32_t>("metric_type"));
  const auto bytes = reader.take<std::uint64_t>("the codes' size");
  if (dims < 8 || dims % 8 != 0 || code_size != dims / 8 || count < 0 ||
      checked_multiply(static_cast<std::uint64_t>(count), static_cast<std::uint64_t>(code_size)) !=
          bytes) {
    fail(reader.source(), ": ", count, " codes of ", dims, " bits in ", code_size,
         " bytes each do not make ", bytes, " bytes");
  }
  return reader.take_matrix(static_cast<std::uint64_t>(count),
                            static_cast<std::uint64_t>(code_size));
}

/// Writes codes, [n][dims / 8], so that faiss::read_index_binary reads them. Throws Error where
/// FAISS cannot hold them, or writing fails.
inline void write_faiss_binary_flat(const std::filesystem::path& path, const ByteMatrix& bits) {
  if (bits.cols() < 1 || bits.cols() > std::numeric_limits<std::int32_t>::max() / 8) {
    fail(path_text(path), ": codes of ", bits.cols(), " bytes do not fit an IndexBinaryFlat");
  }
  constexpr std::int32_t metric_l2 = 1;  // what FAISS writes for Hamming distances
  std::string header = "IBxF";
  packed_bits_detail::put(header, static_cast<std::int32_t>(8 * bits.cols()));
  packed_bits_detail::put(header, static_cast<std::int32_t>(bits.cols()));
  packed_bits_detail::put(header, static_cast<std::int64_t>(bits.rows()));
  packed_bits_detail::put(header, std::uint8_t{1});
  packed_bits_detail::put(header, metric_l2);
  packed_bits_detail::put(header, static_cast<std::uint64_t>(bits.size()));
  packed_bits_detail::write_file(path, header, bits);
}

/// Reads an .npy file of packed bits, [n][bytes]: of type uint8 (the precision "ubinary" of
/// sentence-transformers), or int8 ("binary"), which is turned into the former. Throws Error for
/// another type, order or number of dimensions, or a file that is damaged.
[[nodiscard]] inline ByteMatrix read_npy_bits(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  packed_bits_detail::FieldReader reader(file->bytes(), path_text(path));
  const std::string& source = reader.source();
  if (file->bytes().size() < 6 || reader.take_text(6) != "\x93NUMPY") {
    fail(source, ": is not an .npy file");
  }
  const auto version = reader.take<std::uint8_t>("version");
  static_cast<void>(reader.take<std::uint8_t>("version"));
  if (version < 1 || version > 3) fail(source, ": version ", int{version}, " is unknown");
  const std::size_t size = version == 1 ? reader.take<std::uint16_t>("header length")
                                        : reader.take<std::uint32_t>("header length");
  const std::string_view header = reader.take_text(size);
  using packed_bits_detail::npy_value;
  const std::string_view type = npy_value(header, "descr", source).substr(0, 5);
  if (type != "'|u1'" && type != "'|i1'") {
    fail(source, ": expected uint8 or int8 ('|u1', '|i1'), found ", printable(type));
  }
  if (!npy_value(header, "fortran_order", source).starts_with("False")) {
    fail(source, ": expected rows one after the other, found columns");
  }
  std::string_view shape = npy_value(header, "shape", source);
  std::array<std::uint64_t, 2> sizes{};
  const auto expect = [&](bool holds) {
    if (!holds) {
      fail(source, ": expected a shape (rows, bytes), found ",
           printable(shape.substr(0, shape.find(')') + 1)));
    }
  };
  const char* at = shape.data();
  const char* const end = at + shape.size();
  for (const char before : {'(', ','}) {
    expect(at != end && *at == before);
    at = std::find_if(at + 1, end, [](char c) { return c != ' '; });
    const auto result = std::from_chars(at, end, sizes[before == '(' ? 0 : 1]);
    expect(result.ec == std::errc());
    at = result.ptr;
  }
  if (at != end && *at == ',') ++at;
  expect(at != end && *at == ')');
  ByteMatrix bits = reader.take_matrix(sizes[0], sizes[1]);
  if (type == "'|i1'") {
    for (std::uint8_t& byte : bits.reshaped()) byte = to_ubinary(static_cast<std::int8_t>(byte));
  }
  return bits;
}

/// Writes packed bits, [n][bytes], as numpy.save does, of type uint8. Throws Error where writing
/// fails.
inline void write_npy_bits(const std::filesystem::path& path, const ByteMatrix& bits) {
  std::string dictionary = concat("{'descr': '|u1', 'fortran_order': False, 'shape': (",
                                  bits.rows(), ", ", bits.cols(), "), }");
  constexpr std::size_t before = 10, step = 64;
  dictionary.resize(round_up(before + dictionary.size() + 1, step) - before - 1, ' ');
  dictionary += '\n';
  std::string header("\x93NUMPY\x01\x00", 8);
  packed_bits_detail::put(header, static_cast<std::uint16_t>(dictionary.size()));
  packed_bits_detail::write_file(path, header + dictionary, bits);
}

}  // namespace nibble
