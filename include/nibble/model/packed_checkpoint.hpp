// nibble's own checkpoints: matrices in the packed layout, mapped from a safetensors file as used.
#pragma once

#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/progress.hpp>
#include <nibble/io/safetensors.hpp>
#include <nibble/io/safetensors_writer.hpp>
#include <nibble/model/tensor_provider.hpp>

namespace nibble {

/// In the file's metadata: the layout's version, and a JSON object that says of each matrix
/// {"format", "rows", "cols", and the format's options}. A matrix is a U8 tensor of shape
/// [panels][panel bytes] at a multiple of 64 bytes; a vector is an F32 tensor.
namespace packed_metadata {
inline constexpr const char* layout_key = "nibble.layout_version";
inline constexpr const char* matrices_key = "nibble.matrices";
}  // namespace packed_metadata

/// The tensors of a packed checkpoint; matrices borrow the mapped bytes.
class PackedTensors : public TensorProvider {
 public:
  /// Throws Error, naming the file, for another layout version or broken metadata.
  explicit PackedTensors(SafetensorsFile file) : file_(std::move(file)) {
    const std::string source = path_text(file_.path());
    const auto& metadata = file_.metadata();
    const auto version = metadata.find(packed_metadata::layout_key);
    const auto matrices = metadata.find(packed_metadata::matrices_key);
    if (version == metadata.end() || matrices == metadata.end()) {
      fail(source, ": the metadata lacks ", packed_metadata::layout_key, " or ",
           packed_metadata::matrices_key, "; this is no file of nibble's");
    }
    if (version->second != std::to_string(layout_version)) {
      fail(source, ": layout version ", in_quotes(version->second), ", expected ", layout_version);
    }
    const std::string where = concat(source, ": ", packed_metadata::matrices_key);
    const nlohmann::json json = parse_json(matrices->second, where);
    if (!json.is_object()) fail(where, ": expected an object, found ", describe_json(json));
    for (const auto& [name, entry] : json.items()) {
      const std::string entry_where = concat(where, ": ", in_quotes(name, 200));
      FormatOptions options;
      options.group_size = json_field<Index>(entry, "group_size", entry_where);
      options.asymmetric = json_field<bool>(entry, "asymmetric", entry_where);
      options.per_tensor = json_field<bool>(entry, "per_tensor", entry_where);
      const auto format = json_field<std::string>(entry, "format", entry_where);
      try {
        matrices_.emplace(name, Entry{make_format(printable(format), options),
                                      json_field<Index>(entry, "rows", entry_where),
                                      json_field<Index>(entry, "cols", entry_where)});
      } catch (const Error& error) {
        fail(entry_where, ": ", error.what());
      }
    }
  }

  [[nodiscard]] AnyFormat format(const TensorSpec& spec) const override {
    return find(spec).format;
  }

  [[nodiscard]] AnyMatrix matrix(const TensorSpec& spec, ThreadPool&) const override {
    const Entry& entry = find(spec);
    const TensorView tensor = file_.at(spec.name);
    expect_dtype(tensor, DType::U8);
    return std::visit(
        [&]<class F>(const F& format) -> AnyMatrix {
          try {
            return QuantizedMatrix<F>(format, entry.rows, entry.cols, tensor.data, tensor.owner);
          } catch (const Error& error) {
            fail(tensor.where(), ": ", error.what());
          }
        },
        entry.format);
  }

  [[nodiscard]] std::vector<float> vector(const TensorSpec& spec) const override {
    const TensorView tensor = file_.at(spec.name);
    expect_dtype(tensor, DType::F32);
    expect_shape(tensor, {spec.cols});
    std::vector<float> values = read_floats(tensor);
    for (const float value : values) {
      if (!std::isfinite(value)) fail(tensor.where(), ": holds ", value);
    }
    return values;
  }

 private:
  struct Entry {
    AnyFormat format;
    Index rows;
    Index cols;
  };

  [[nodiscard]] const Entry& find(const TensorSpec& spec) const {
    const std::string source = path_text(file_.path());
    const auto place = matrices_.find(spec.name);
    if (place == matrices_.end()) fail(source, ": no matrix ", in_quotes(spec.name, 200));
    const Entry& entry = place->second;
    if (entry.rows != spec.rows || entry.cols != spec.cols) {
      fail(source, ": matrix ", in_quotes(spec.name, 200), ": expected ", spec.rows, " x ",
           spec.cols, ", found ", entry.rows, " x ", entry.cols);
    }
    return entry;
  }

  SafetensorsFile file_;
  std::map<std::string, Entry, std::less<>> matrices_;
};

/// A packed checkpoint yet to be written: what is in it, and how large it will be.
class PackedCheckpoint {
 public:
  /// Borrows `tensors`. Throws Error where the provider lacks a tensor.
  PackedCheckpoint(std::vector<TensorSpec> specs, const TensorProvider& tensors)
      : specs_(std::move(specs)), tensors_(&tensors) {
    nlohmann::json matrices = nlohmann::json::object();
    for (const TensorSpec& spec : specs_) {
      if (spec.role == TensorRole::Vector) {
        layouts_.push_back({spec.name, DType::F32, {spec.cols}});
        continue;
      }
      const AnyFormat format = tensors.format(spec);
      const std::size_t bytes = packed_bytes(format, spec.rows, spec.cols);
      const Index panels = divide_up(spec.rows, panel_rows);
      layouts_.push_back({spec.name, DType::U8, {panels, static_cast<Index>(bytes) / panels}});
      const FormatOptions options = format_options(format);
      matrices[spec.name] = {{"format", format_name(format)},
                             {"rows", spec.rows},
                             {"cols", spec.cols},
                             {"group_size", options.group_size.value_or(0)},
                             {"asymmetric", options.asymmetric},
                             {"per_tensor", options.per_tensor}};
      if (spec.role == TensorRole::Linear) {
        linear_bytes_ += static_cast<double>(bytes);
        linear_weights_ += static_cast<double>(spec.rows) * static_cast<double>(spec.cols);
      }
    }
    metadata_ = {{"format", "nibble"},
                 {packed_metadata::layout_key, std::to_string(layout_version)},
                 {packed_metadata::matrices_key, matrices.dump()}};
  }

  /// Bytes of the file.
  [[nodiscard]] std::uint64_t file_size() const { return safetensors_size(layouts_, metadata_); }

  /// Stored bits of the Linear layers of the decoder's blocks, with scales, offsets and padding,
  /// over their number of weights.
  [[nodiscard]] double bits_per_weight() const noexcept {
    return 8 * linear_bytes_ / linear_weights_;
  }

  /// Writes the file, one tensor in memory at a time. Throws Error (from the provider, or where the
  /// file cannot be written) or Cancelled; then there is no file.
  void write(const std::filesystem::path& path, ThreadPool& pool,
             const Progress& progress = {}) const {
    SafetensorsWriter writer(path, layouts_, metadata_);
    Index done = 0;
    for (const TensorSpec& spec : specs_) {
      report(progress, spec.name, done++, static_cast<Index>(specs_.size()));
      if (spec.role == TensorRole::Vector) {
        const std::vector<float> values = tensors_->vector(spec);
        writer.write(spec.name, std::as_bytes(std::span(values)));
      } else {
        writer.write(spec.name, tensors_->matrix(spec, pool).bytes());
      }
    }
    report(progress, "writing", done, done);
    writer.commit(Sync::yes);
  }

 private:
  std::vector<TensorSpec> specs_;
  const TensorProvider* tensors_;
  std::vector<TensorLayout> layouts_;
  SafetensorsMetadata metadata_;
  double linear_bytes_ = 0;
  double linear_weights_ = 0;
};

}  // namespace nibble
