// Any bytes as a safetensors file: refused with an Error, or every tensor lies within them.
#include <cstddef>
#include <cstdint>
#include <span>

#include <nibble/core/error.hpp>
#include <nibble/io/safetensors_header.hpp>
#include <nibble/io/safetensors_writer.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  nibble::SafetensorsHeader header;
  try {
    header = nibble::parse_safetensors_header(bytes, size, "fuzz");
  } catch (const nibble::Error& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) __builtin_trap();
    return 0;
  }
  std::vector<nibble::TensorLayout> layouts;
  std::uint64_t total = 0;
  for (const auto& tensor : header.tensors) {
    if (tensor.offset > size || tensor.size > size - tensor.offset) __builtin_trap();
    if (tensor.elements() < 0) __builtin_trap();
    total += tensor.size;
    layouts.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  if (header.data_offset + total != size) __builtin_trap();

  // What the writer lays out reads back.
  const auto plan = nibble::plan_safetensors(layouts, header.metadata);
  const auto again = nibble::parse_safetensors_header(
      std::as_bytes(std::span<const char>(plan.header)), plan.file_size, "again");
  if (again.metadata != header.metadata) __builtin_trap();
  if (again.tensors.size() != header.tensors.size()) __builtin_trap();
  return 0;
}
