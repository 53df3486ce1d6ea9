// Writes nibble's own checkpoints, one tensor in memory at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/core/progress.hpp>
#include <nibble/io/safetensors_writer.hpp>
#include <nibble/model/packed_tensors.hpp>

namespace nibble {

/// A packed checkpoint yet to be written: what is in it, and how large it will be.
class PackedCheckpoint {
 public:
  /// Borrows `tensors`; `metadata` is added to the file's. Throws Error where the provider lacks a
  /// tensor.
  PackedCheckpoint(std::vector<TensorSpec> specs, const TensorProvider& tensors,
                   const SafetensorsMetadata& metadata = {})
      : specs_(std::move(specs)), tensors_(&tensors) {
    nlohmann::json matrices = nlohmann::json::object();
    for (const TensorSpec& spec : specs_) {
      if (spec.role == TensorRole::Vector) {
        layouts_.push_back({spec.name, DType::F32, {spec.cols}});
        continue;
      }
      const AnyFormat format = tensors.format(spec);
      const std::size_t bytes = packed_bytes(format, spec.rows, spec.cols);
      layouts_.push_back({spec.name, DType::U8, packed_shape(format, spec.rows, spec.cols)});
      matrices[spec.name] = format_to_json(format);
      matrices[spec.name]["rows"] = spec.rows;
      matrices[spec.name]["cols"] = spec.cols;
      if (spec.role == TensorRole::Linear) {
        linear_bytes_ += static_cast<double>(bytes);
        linear_weights_ += static_cast<double>(spec.rows) * static_cast<double>(spec.cols);
      }
    }
    metadata_ = {{"format", "nibble"},
                 {packed_metadata::layout_key, std::to_string(layout_version)},
                 {packed_metadata::matrices_key, matrices.dump()}};
    metadata_.insert(metadata.begin(), metadata.end());
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
  void write(const std::filesystem::path& path, ExecutorRef pool,
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
