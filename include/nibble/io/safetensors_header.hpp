// The header of a safetensors file, checked in full against the file's size.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/dtype.hpp>
#include <nibble/io/json.hpp>

namespace nibble {

/// Most bytes of a safetensors header, as the reference reader has it.
inline constexpr std::uint64_t safetensors_header_limit = 100'000'000;

/// What the header says of one tensor; row-major, little-endian.
struct TensorInfo {
  std::string name;
  DType dtype = DType::U8;
  std::vector<Index> shape;  // empty for a scalar
  std::uint64_t offset = 0;  // of its first byte, from the start of the file
  std::uint64_t size = 0;    // in bytes

  /// Number of elements.
  [[nodiscard]] Index elements() const noexcept {
    return static_cast<Index>(size * 8 / dtype_bits(dtype));
  }
};

/// A checked header.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;   // by offset, without gap or overlap
  std::vector<std::size_t> by_name;  // positions in `tensors`, by name; no name twice
  std::map<std::string, std::string> metadata;
  std::uint64_t data_offset = 0;  // where the tensors begin, from the start of the file
};

namespace detail {

/// SAX events of a header into a SafetensorsHeader. The structure is fixed, so nothing is stored
/// that does not belong: memory stays within a small multiple of the header.
class SafetensorsHeaderBuilder {
 public:
  struct Range {
    std::uint64_t begin = 0, end = 0;  // from the start of the data
  };

  [[nodiscard]] const std::string& error() const { return error_; }

  std::vector<TensorInfo> tensors;
  std::vector<Range> ranges;  // parallel to tensors
  std::map<std::string, std::string> metadata;

  bool null() { return unexpected("null"); }
  bool boolean(bool) { return unexpected("a boolean"); }
  bool number_integer(std::int64_t) { return unexpected("a negative number"); }
  bool number_float(double, const std::string&) { return unexpected("a number that is not whole"); }
  bool binary(nlohmann::json::binary_t&) { return false; }

  bool number_unsigned(std::uint64_t value) {
    if (state_ == State::shape) {
      auto& shape = tensors.back().shape;
      if (shape.size() == tensor_rank_limit) {
        return wrong(concat("more than ", tensor_rank_limit, " dimensions"));
      }
      if (value > static_cast<std::uint64_t>(std::numeric_limits<Index>::max())) {
        return wrong(concat("dimension ", value, " is too large"));
      }
      shape.push_back(static_cast<Index>(value));
      return true;
    }
    if (state_ == State::offsets && offsets_read_ < 2) {
      (offsets_read_ == 0 ? ranges.back().begin : ranges.back().end) = value;
      ++offsets_read_;
      return true;
    }
    return unexpected("a number");
  }

  bool string(std::string& value) {
    if (state_ == State::metadata) {
      const auto [place, fresh] = metadata.try_emplace(std::move(key_), std::move(value));
      return fresh || wrong("duplicate key " + in_quotes(place->first));
    }
    if (state_ == State::dtype) {
      const auto type = find_dtype(value);
      if (!type) return wrong("unknown dtype " + in_quotes(value));
      tensors.back().dtype = *type;
      state_ = State::tensor;
      return true;
    }
    return unexpected("a string");
  }

  bool start_object(std::size_t) {
    if (state_ == State::start) {
      state_ = State::top;
    } else if (state_ == State::member) {
      if (key_ == "__metadata__") {
        if (has_metadata_) return wrong("given twice");
        has_metadata_ = true;
        state_ = State::metadata;
      } else if (key_.empty()) {
        return wrong("a tensor without a name");
      } else {
        tensors.emplace_back().name = key_;
        ranges.emplace_back();
        has_dtype_ = has_shape_ = has_offsets_ = false;
        state_ = State::tensor;
      }
    } else {
      return unexpected("an object");
    }
    return true;
  }

  bool end_object() {
    if (state_ == State::tensor && !(has_dtype_ && has_shape_ && has_offsets_)) {
      return wrong(concat("field '",
                          !has_dtype_   ? "dtype"
                          : !has_shape_ ? "shape"
                                        : "data_offsets",
                          "' is missing"));
    }
    state_ = State::top;
    return true;
  }

  bool start_array(std::size_t) {
    if (state_ == State::before_shape) {
      state_ = State::shape;
    } else if (state_ == State::before_offsets) {
      state_ = State::offsets;
      offsets_read_ = 0;
    } else {
      return unexpected("an array");
    }
    return true;
  }

  bool end_array() {
    if (state_ == State::offsets && offsets_read_ != 2) {
      return wrong("data_offsets holds fewer than 2 numbers");
    }
    state_ = State::tensor;
    return true;
  }

  bool key(std::string& name) {
    if (state_ == State::tensor) {
      bool& seen = name == "dtype" ? has_dtype_ : name == "shape" ? has_shape_ : has_offsets_;
      if (name == "dtype") {
        state_ = State::dtype;
      } else if (name == "shape") {
        state_ = State::before_shape;
      } else if (name == "data_offsets") {
        state_ = State::before_offsets;
      } else {
        return wrong("unknown field " + in_quotes(name));
      }
      if (seen) return wrong("field " + in_quotes(name) + " is given twice");
      seen = true;
      return true;
    }
    if (state_ == State::top) state_ = State::member;
    key_ = std::move(name);
    return true;
  }

  bool parse_error(std::size_t, const std::string& token, const nlohmann::json::exception& why) {
    error_ = json_syntax_error(token, why);
    return false;
  }

 private:
  enum class State {
    start,           // before the outer object
    top,             // between its members
    member,          // after a member's name
    metadata,        // inside __metadata__
    tensor,          // inside a tensor, between its fields
    dtype,           // after "dtype"
    before_shape,    // after "shape"
    shape,           // inside its array
    before_offsets,  // after "data_offsets"
    offsets,         // inside its array
  };

  bool wrong(std::string_view what) {
    const bool in_tensor = state_ >= State::tensor;
    if (state_ != State::start && state_ != State::top) {
      error_ = in_tensor ? "tensor " + in_quotes(tensors.back().name) + ": "
                         : (state_ == State::metadata ? std::string("__metadata__: ")
                                                      : in_quotes(key_) + ": ");
    }
    error_ += what;
    return false;
  }

  bool unexpected(std::string_view found) {
    constexpr std::array<std::string_view, 10> expected = {
        "an object", "a name",   "an object", "a string", "a field",
        "a string",  "an array", "a size",    "an array", "2 offsets",
    };
    return wrong(
        concat("found ", found, ", expected ", expected[static_cast<std::size_t>(state_)]));
  }

  State state_ = State::start;
  std::string key_;
  std::string error_;
  int offsets_read_ = 0;
  bool has_metadata_ = false;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
};

}  // namespace detail

/// Parses and checks the header of a safetensors file of `file_size` bytes, of which `bytes` are
/// the first (all of the header at least, or everything there is). Checked: the header's length,
/// its JSON, names, types, shapes, and that the tensors fill the file without gap or overlap.
/// Throws `Error`, naming `source` and the tensor.
[[nodiscard]] inline SafetensorsHeader parse_safetensors_header(std::span<const std::byte> bytes,
                                                                std::uint64_t file_size,
                                                                std::string_view source) {
  constexpr std::uint64_t prefix = 8;
  if (file_size < prefix || bytes.size() < prefix) {
    fail(source, ": holds ", file_size, " bytes, too few for a safetensors file");
  }
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  if (length > safetensors_header_limit || length > file_size - prefix ||
      length > bytes.size() - prefix) {
    fail(source, ": header length ", length, ", expected at most ",
         std::min(safetensors_header_limit, file_size - prefix),
         "; not a safetensors file, or a truncated one");
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + prefix,
                              static_cast<std::size_t>(length));
  if (!text.starts_with('{')) fail(source, ": the header does not start with '{'");

  detail::SafetensorsHeaderBuilder builder;
  detail::walk_json(text, concat(source, ": header"), builder);

  SafetensorsHeader header;
  header.metadata = std::move(builder.metadata);
  header.data_offset = prefix + length;
  const std::uint64_t data_size = file_size - header.data_offset;
  for (std::size_t i = 0; i < builder.tensors.size(); ++i) {
    TensorInfo& tensor = builder.tensors[i];
    const auto [begin, end] = builder.ranges[i];
    const auto where = [&] { return concat(source, ": tensor ", in_quotes(tensor.name)); };
    if (begin > end || end > data_size) {
      fail(where(), ": data_offsets [", begin, ", ", end, "] do not lie within the ", data_size,
           " bytes of data");
    }
    const auto expected = tensor_bytes(tensor.dtype, tensor.shape);
    if (!expected) {
      fail(where(), ": shape ", shape_text(tensor.shape), " of ", dtype_name(tensor.dtype),
           " has no size in bytes");
    }
    if (end - begin != *expected) {
      fail(where(), ": data_offsets [", begin, ", ", end, "] hold ", end - begin,
           " bytes, expected ", *expected, " for shape ", shape_text(tensor.shape), " of ",
           dtype_name(tensor.dtype));
    }
    tensor.offset = header.data_offset + begin;
    tensor.size = end - begin;
  }
  header.tensors = std::move(builder.tensors);
  std::ranges::sort(header.tensors, [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.offset, a.size) < std::pair(b.offset, b.size);
  });
  std::uint64_t at = header.data_offset;
  for (const TensorInfo& tensor : header.tensors) {
    if (tensor.offset != at) {
      fail(source, ": tensor ", in_quotes(tensor.name), " starts at byte ",
           tensor.offset - header.data_offset, " of the data, expected ", at - header.data_offset,
           tensor.offset < at ? " (it overlaps another)" : " (there is a gap before it)");
    }
    at += tensor.size;
  }
  if (at != file_size) {
    fail(source, ": ", file_size - at, " bytes after the last tensor, expected none");
  }
  for (std::size_t i = 0; i < header.tensors.size(); ++i) header.by_name.push_back(i);
  const auto name = [&](std::size_t i) -> const std::string& { return header.tensors[i].name; };
  std::ranges::sort(header.by_name, {}, name);
  const auto twice = std::ranges::adjacent_find(header.by_name, {}, name);
  if (twice != header.by_name.end()) {
    fail(source, ": tensor ", in_quotes(name(*twice)), " is given twice");
  }
  return header;
}

}  // namespace nibble
