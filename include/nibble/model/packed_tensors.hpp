// Reads nibble's own checkpoints: matrices in the packed layout, used as they are mapped.
#pragma once

#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/format/weight_source.hpp>
#include <nibble/io/safetensors.hpp>
#include <nibble/model/format_json.hpp>
#include <nibble/model/tensor_provider.hpp>

namespace nibble {

/// In the file's metadata: the layout's version, and a JSON object that says of each matrix
/// {"format", "rows", "cols", and the format's options}. A matrix is a U8 tensor of shape
/// [panels][panel bytes] at a multiple of 64 bytes; a vector is an F32 tensor.
namespace packed_metadata {
inline constexpr const char* layout_key = "nibble.layout_version";
inline constexpr const char* matrices_key = "nibble.matrices";
}  // namespace packed_metadata

/// The shape of a matrix's U8 tensor. Throws Error as packed_bytes.
[[nodiscard]] inline std::vector<Index> packed_shape(const AnyFormat& format, Index rows,
                                                     Index cols) {
  const Index panels = divide_up(rows, panel_rows);
  return {panels, static_cast<Index>(packed_bytes(format, rows, cols)) / panels};
}

/// Throws Error, naming the panel, where a header is not as F writes it.
template <WeightFormat F>
void check_headers(const QuantizedMatrix<F>& matrix) {
  const PanelView& view = matrix.view();
  if (view.layout.header_bytes == 0) return;
  for (Index panel = 0; panel < view.panels(); ++panel) {
    try {
      F::check_header(view.panel(panel), view.layout);
    } catch (const Error& error) {
      fail("panel ", panel, ": ", error.what());
    }
  }
}

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
      matrices_.emplace(name, Entry{format_from_json(entry, entry_where),
                                    json_field<Index>(entry, "rows", entry_where),
                                    json_field<Index>(entry, "cols", entry_where)});
    }
  }

  [[nodiscard]] AnyFormat format(const TensorSpec& spec) const override {
    return find(spec).format;
  }

  /// Of the bytes, reads the headers of the panels, so that no scale or zero point is one that
  /// kernels do not expect; any codes will do.
  [[nodiscard]] AnyMatrix matrix(const TensorSpec& spec, ExecutorRef) const override {
    const Entry& entry = find(spec);
    const TensorView tensor = file_.at(spec.name);
    expect_dtype(tensor, DType::U8);
    expect_shape(tensor, packed_shape(entry.format, entry.rows, entry.cols));
    return std::visit(
        [&]<class F>(const F& format) -> AnyMatrix {
          try {
            QuantizedMatrix<F> matrix(format, entry.rows, entry.cols, tensor.data, tensor.owner);
            check_headers(matrix);
            return matrix;
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

}  // namespace nibble
