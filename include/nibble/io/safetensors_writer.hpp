// Writes safetensors files tensor by tensor, with a layout fixed beforehand.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/function_ref.hpp>
#include <nibble/io/describe.hpp>
#include <nibble/io/dtype.hpp>
#include <nibble/io/json.hpp>
#include <nibble/io/output_file.hpp>
#include <nibble/io/safetensors_header.hpp>

namespace nibble {

/// What a file will hold of one tensor; row-major, little-endian.
struct TensorLayout {
  std::string name;
  DType dtype = DType::U8;
  std::vector<Index> shape;
};

/// The free-form part of the header. transformers reads only files with {"format": "pt"}.
using SafetensorsMetadata = std::map<std::string, std::string>;

/// Data, and every tensor whose size is a multiple of it, starts at such a multiple in the file.
inline constexpr std::uint64_t safetensors_alignment = 64;

/// A file's bytes up to the data, and where everything goes. The same tensors and metadata give
/// the same bytes. Tensors whose size is a multiple of 64 come first, in the order given, so that
/// all of them are aligned; the others follow, wide elements first.
struct SafetensorsPlan {
  std::string header;  // the length prefix included
  std::vector<TensorInfo> tensors;
  std::uint64_t file_size = 0;
};

/// Lays a file out. Throws `Error`, naming the tensor, for an empty name or one given twice, text
/// that is not UTF-8, too many dimensions, or sizes that overflow.
[[nodiscard]] inline SafetensorsPlan plan_safetensors(std::span<const TensorLayout> layouts,
                                                      const SafetensorsMetadata& metadata) {
  const auto json_text = [](const std::string& text) {
    for (std::string_view rest = text; !rest.empty();) {
      const std::size_t length = detail::utf8_length(rest);
      if (length == 0) fail("safetensors: ", in_quotes(text), " is not UTF-8");
      rest.remove_prefix(length);
    }
    return nlohmann::json(text).dump();
  };

  SafetensorsPlan plan;
  for (const TensorLayout& layout : layouts) {
    const std::string where = "safetensors: tensor " + in_quotes(layout.name, 200);
    if (layout.name.empty() || layout.name == "__metadata__") fail(where, ": not a name");
    if (layout.shape.size() > tensor_rank_limit) {
      fail(where, ": ", layout.shape.size(), " dimensions, expected at most ", tensor_rank_limit);
    }
    if (std::ranges::any_of(layout.shape, [](Index size) { return size < 0; })) {
      fail(where, ": shape ", shape_text(layout.shape), " is negative");
    }
    const auto size = tensor_bytes(layout.dtype, layout.shape);
    if (!size) {
      fail(where, ": shape ", shape_text(layout.shape), " of ", dtype_name(layout.dtype),
           " has no size in bytes");
    }
    plan.tensors.push_back({layout.name, layout.dtype, layout.shape, 0, *size});
  }
  std::ranges::stable_sort(plan.tensors, {}, [](const TensorInfo& tensor) {
    const bool aligned = tensor.size % safetensors_alignment == 0;
    return aligned ? std::pair(0, 0U) : std::pair(1, 64 - dtype_bits(tensor.dtype));
  });

  std::string json = "{";
  if (!metadata.empty()) {
    for (json += "\"__metadata__\":{"; const auto& [key, value] : metadata) {
      json += json_text(key) + ":" + json_text(value) + ",";
    }
    json.back() = '}';
    json += ',';
  }
  std::uint64_t data_size = 0;
  for (TensorInfo& tensor : plan.tensors) {
    tensor.offset = data_size;
    const auto end = checked_add(data_size, tensor.size);
    if (!end) fail("safetensors: the tensors' sizes overflow");
    data_size = *end;
    json += concat(json_text(tensor.name), ":{\"dtype\":\"", dtype_name(tensor.dtype),
                   "\",\"shape\":", nlohmann::json(tensor.shape).dump(), ",\"data_offsets\":[",
                   tensor.offset, ",", data_size, "]},");
  }
  if (json.size() > 1) json.pop_back();  // the last comma
  json += '}';
  constexpr std::uint64_t prefix = 8;
  const std::uint64_t data_offset =
      round_up<std::uint64_t>(prefix + json.size(), safetensors_alignment);
  json.resize(static_cast<std::size_t>(data_offset - prefix), ' ');
  const std::uint64_t length = json.size();
  if (length > safetensors_header_limit) {
    fail("safetensors: a header of ", length, " bytes, expected at most ",
         safetensors_header_limit);
  }
  char length_bytes[prefix];
  std::memcpy(length_bytes, &length, prefix);
  plan.header = std::string(length_bytes, prefix) + json;
  for (TensorInfo& tensor : plan.tensors) tensor.offset += data_offset;
  const auto file_size = checked_add(data_offset, data_size);
  if (!file_size) fail("safetensors: the tensors' sizes overflow");
  plan.file_size = *file_size;

  std::vector<std::string_view> names;
  for (const TensorInfo& tensor : plan.tensors) names.push_back(tensor.name);
  std::ranges::sort(names);
  const auto twice = std::ranges::adjacent_find(names);
  if (twice != names.end()) {
    fail("safetensors: tensor ", in_quotes(*twice, 200), " is given twice");
  }
  return plan;
}

/// Bytes of the file that these tensors and metadata make. Throws as `plan_safetensors`.
[[nodiscard]] inline std::uint64_t safetensors_size(std::span<const TensorLayout> layouts,
                                                    const SafetensorsMetadata& metadata) {
  return plan_safetensors(layouts, metadata).file_size;
}

/// A file under construction. Tensors may be written in any order and in pieces; nothing is
/// buffered beyond a few kilobytes. The file gets its name at `commit`; without, nothing is left.
class SafetensorsWriter {
 public:
  /// Throws as `plan_safetensors` and `OutputFile`.
  SafetensorsWriter(const std::filesystem::path& path, std::span<const TensorLayout> layouts,
                    const SafetensorsMetadata& metadata = {{"format", "pt"}})
      : plan_(plan_safetensors(layouts, metadata)), file_(path) {
    for (const TensorInfo& tensor : plan_.tensors) progress_.emplace(tensor.name, Part{&tensor, 0});
    file_.write(std::as_bytes(std::span<const char>(plan_.header)));
  }

  [[nodiscard]] const SafetensorsPlan& plan() const noexcept { return plan_; }

  /// Appends to the tensor `name`. Throws `Error` where it was not announced, where the bytes
  /// exceed its size, or where writing fails (a full disk, for instance).
  void write(std::string_view name, std::span<const std::byte> bytes) {
    const auto place = progress_.find(name);
    if (place == progress_.end()) {
      fail(path_text(file_.path()), ": tensor ", in_quotes(name, 200), " was not announced");
    }
    auto& [tensor, written] = place->second;
    if (bytes.size() > tensor->size - written) {
      fail(where(*tensor), ": ", written + bytes.size(), " bytes given, expected ", tensor->size);
    }
    file_.write_at(tensor->offset + written, bytes);
    written += bytes.size();
  }

  /// Checks that every tensor is complete and gives the file its name. Throws `Error`.
  void commit(Sync sync = Sync::no) {
    for (const auto& [name, part] : progress_) {
      if (part.written != part.tensor->size) {
        fail(where(*part.tensor), ": ", part.written, " bytes given, expected ", part.tensor->size);
      }
    }
    file_.commit(sync);
  }

 private:
  struct Part {
    const TensorInfo* tensor;
    std::uint64_t written;
  };

  [[nodiscard]] std::string where(const TensorInfo& tensor) const {
    return concat(path_text(file_.path()), ": tensor ", in_quotes(tensor.name, 200));
  }

  SafetensorsPlan plan_;
  std::map<std::string_view, Part> progress_;  // by names that plan_ holds
  OutputFile file_;
};

/// Takes the next bytes of a tensor.
using ByteSink = FunctionRef<void(std::span<const std::byte>)>;

/// A tensor and where its bytes come from: `produce` hands them to the sink, in pieces of any size.
struct TensorSource {
  TensorLayout layout;
  std::function<void(ByteSink)> produce;
};

/// A source that hands over `bytes`, which must outlive it.
[[nodiscard]] inline TensorSource tensor_source(TensorLayout layout,
                                                std::span<const std::byte> bytes) {
  return {std::move(layout), [bytes](ByteSink sink) { sink(bytes); }};
}

/// Writes a whole file, one source after the other. Throws as `SafetensorsWriter`, and what a
/// source throws; then no file is left.
inline void write_safetensors(const std::filesystem::path& path,
                              std::span<const TensorSource> sources,
                              const SafetensorsMetadata& metadata = {{"format", "pt"}},
                              Sync sync = Sync::no) {
  std::vector<TensorLayout> layouts;
  for (const TensorSource& source : sources) layouts.push_back(source.layout);
  SafetensorsWriter writer(path, layouts, metadata);
  for (const TensorSource& source : sources) {
    const auto append = [&](std::span<const std::byte> bytes) {
      writer.write(source.layout.name, bytes);
    };
    source.produce(append);
  }
  writer.commit(sync);
}

}  // namespace nibble
