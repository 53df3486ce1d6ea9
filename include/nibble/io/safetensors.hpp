// Safetensors files: mapped, checked, their tensors viewed in place or read as floats.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/half.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/dtype.hpp>
#include <nibble/io/mapped_file.hpp>
#include <nibble/io/safetensors_header.hpp>

namespace nibble {

/// A tensor's description and bytes. `owner` keeps both alive, the file's mapping included.
struct TensorView {
  const TensorInfo* info = nullptr;
  std::span<const std::byte> data;
  std::string_view file;  // as errors name it
  std::shared_ptr<const void> owner;

  [[nodiscard]] const std::string& name() const noexcept { return info->name; }
  [[nodiscard]] DType dtype() const noexcept { return info->dtype; }
  [[nodiscard]] std::span<const Index> shape() const noexcept { return info->shape; }
  [[nodiscard]] Index elements() const noexcept { return info->elements(); }

  /// "file: tensor "name"", as errors about it begin.
  [[nodiscard]] std::string where() const {
    return concat(file, ": tensor ", in_quotes(name(), 200));
  }
};

/// A mapped safetensors file. Cheap to copy; safe to read from several threads.
class SafetensorsFile {
 public:
  /// Maps and checks the file (`MappedFile::open`, `parse_safetensors_header`). Throws `Error`.
  [[nodiscard]] static SafetensorsFile open(const std::filesystem::path& path) {
    auto content = std::make_shared<Content>();
    content->file = MappedFile::open(path);
    content->source = path_text(path);
    const auto bytes = content->file->bytes();
    content->header = parse_safetensors_header(bytes, bytes.size(), content->source);
    return SafetensorsFile(std::move(content));
  }

  /// All tensors, by offset.
  [[nodiscard]] std::span<const TensorInfo> tensors() const noexcept {
    return content_->header.tensors;
  }

  [[nodiscard]] const std::map<std::string, std::string>& metadata() const noexcept {
    return content_->header.metadata;
  }

  [[nodiscard]] const std::filesystem::path& path() const noexcept {
    return content_->file->path();
  }

  /// The tensor of that name, if there is one.
  [[nodiscard]] std::optional<TensorView> find(std::string_view name) const {
    const auto& tensors = content_->header.tensors;
    const auto name_of = [&](std::size_t i) -> std::string_view { return tensors[i].name; };
    const auto& by_name = content_->header.by_name;
    const auto place = std::ranges::lower_bound(by_name, name, {}, name_of);
    if (place == by_name.end() || name_of(*place) != name) return std::nullopt;
    return view(tensors[*place]);
  }

  /// The tensor of that name. Throws `Error`, naming it and the file, where there is none.
  [[nodiscard]] TensorView at(std::string_view name) const {
    auto found = find(name);
    if (!found) fail(content_->source, ": no tensor ", in_quotes(name, 200));
    return *std::move(found);
  }

  /// The bytes of one of `tensors()`.
  [[nodiscard]] TensorView view(const TensorInfo& info) const {
    return {&info,
            content_->file->bytes().subspan(static_cast<std::size_t>(info.offset),
                                            static_cast<std::size_t>(info.size)),
            content_->source, content_};
  }

 private:
  struct Content {
    std::shared_ptr<const MappedFile> file;
    std::string source;
    SafetensorsHeader header;
  };

  explicit SafetensorsFile(std::shared_ptr<const Content> content) : content_(std::move(content)) {}

  std::shared_ptr<const Content> content_;
};

namespace detail {

template <class Stored>
void convert_floats(const std::byte* from, std::span<float> to) noexcept {
  for (std::size_t i = 0; i < to.size(); ++i) {
    Stored value;  // a file's tensors need not be aligned
    std::memcpy(&value, from + i * sizeof(Stored), sizeof(Stored));
    to[i] = to_float(value);
  }
}

}  // namespace detail

/// Converts the elements from `first` on, as many as `out` holds, from F32, F16 or BF16 (exactly).
/// Throws `Error` for another type or a range beyond the tensor.
inline void read_floats(const TensorView& tensor, Index first, std::span<float> out) {
  const auto count = static_cast<Index>(out.size());
  if (first < 0 || first > tensor.elements() || count > tensor.elements() - first) {
    fail(tensor.where(), ": elements ", first, " to ", first + count, " asked for, it holds ",
         tensor.elements());
  }
  const std::byte* from =
      tensor.data.data() + static_cast<std::size_t>(first) * (dtype_bits(tensor.dtype()) / 8);
  switch (tensor.dtype()) {
    case DType::F32:
      if (!out.empty()) std::memcpy(out.data(), from, out.size_bytes());
      break;
    case DType::F16:
      detail::convert_floats<Float16>(from, out);
      break;
    case DType::BF16:
      detail::convert_floats<BFloat16>(from, out);
      break;
    default:
      fail(tensor.where(), ": expected F32, F16 or BF16, found ", dtype_name(tensor.dtype()));
  }
}

/// The whole tensor as floats; as the other.
[[nodiscard]] inline std::vector<float> read_floats(const TensorView& tensor) {
  std::vector<float> out(static_cast<std::size_t>(tensor.elements()));
  read_floats(tensor, 0, out);
  return out;
}

/// Throws `Error` where the tensor's shape is not `expected`.
inline void expect_shape(const TensorView& tensor, std::span<const Index> expected) {
  if (!std::ranges::equal(tensor.shape(), expected)) {
    fail(tensor.where(), ": expected shape ", shape_text(expected), ", found ",
         shape_text(tensor.shape()));
  }
}
inline void expect_shape(const TensorView& tensor, std::initializer_list<Index> expected) {
  expect_shape(tensor, std::span<const Index>(expected.begin(), expected.size()));
}

/// Throws `Error` where the tensor's element type is not `expected`.
inline void expect_dtype(const TensorView& tensor, DType expected) {
  if (tensor.dtype() != expected) {
    fail(tensor.where(), ": expected ", dtype_name(expected), ", found ",
         dtype_name(tensor.dtype()));
  }
}

}  // namespace nibble
