// The snippet of docs/adding-a-format.md: a format of its own, run through the kernels.
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include <nibble/nibble.hpp>

#include "support/catch.hpp"

namespace {

/// Weights between -1 and 1 in steps of 1/127, without a header.
struct UnitInt8 {
  using Unit = nibble::CodeUnit<8>;
  static constexpr std::string_view name = "unit-int8";
  static constexpr nibble::Index unit_inputs = Unit::inputs;
  static constexpr std::size_t unit_bytes = Unit::bytes;
  static constexpr int max_code = 255;
  static constexpr bool has_offset = false;

  using Row = std::span<const std::uint8_t>;  // codes, [cols]

  static UnitInt8 make(const nibble::FormatOptions& options) {
    nibble::require_options(name, options, false, false, false);
    return {};
  }
  nibble::FormatOptions options() const { return {.group_size = 0}; }

  nibble::PanelLayout layout(nibble::Index cols) const {
    const auto units = static_cast<std::size_t>(nibble::divide_up(cols, unit_inputs));
    return {.group_size = cols, .groups = 1, .panel_bytes = units * unit_bytes};
  }
  static void write_row(std::byte* panel, const nibble::PanelLayout&, nibble::Index lane,
                        nibble::Index cols, Row row) {
    for (nibble::Index col = 0; col < cols; ++col) {
      Unit::write(panel, lane, col, row[static_cast<std::size_t>(col)]);
    }
  }
  static float value(const std::byte* panel, const nibble::PanelLayout&, nibble::Index lane,
                     nibble::Index col) {
    return (1.0F / 127) * static_cast<float>(static_cast<int>(Unit::read(panel, lane, col)) - 128);
  }
  static void check_header(const std::byte*, const nibble::PanelLayout&) noexcept {}  // has none

  template <nibble::simd::InstructionSet Isa>
  static void unpack(const std::byte* unit, nibble::simd::Words<Isa>* quads) noexcept {
    Unit::template unpack<Isa>(unit, quads);
  }
  template <nibble::simd::InstructionSet Isa>
  static nibble::GroupMap<Isa> load_group(const std::byte*, const nibble::PanelLayout&,
                                          nibble::Index) noexcept {
    return {nibble::simd::Floats<Isa>::broadcast(1.0F / 127),
            nibble::simd::Ints<Isa>::broadcast(128), nibble::simd::Floats<Isa>::broadcast(0)};
  }

  friend bool operator==(const UnitInt8&, const UnitInt8&) = default;
};
static_assert(nibble::IntegerWeightFormat<UnitInt8>);

}  // namespace

TEST_CASE("docs/adding-a-format.md: a new format runs on every kernel") {
  using nibble::Index;
  constexpr Index rows = 21;
  constexpr Index cols = 75;
  nibble::MatrixBuilder<UnitInt8> builder({}, rows, cols);
  nibble::Random random(1);
  for (Index row = 0; row < rows; ++row) {
    std::vector<std::uint8_t> codes(cols);
    for (auto& code : codes) code = static_cast<std::uint8_t>(1 + random.next() % 255);
    builder.set_row(row, codes);
  }
  const nibble::QuantizedMatrix<UnitInt8> weights = std::move(builder).finish();
  CHECK(weights.bits_per_weight() > 8);

  const nibble::Matrix inputs = nibble::Matrix::Random(5, cols);
  const nibble::KernelTable& kernels = nibble::kernels<>();
  nibble::ActivationBuffer buffer;
  const nibble::PackedActivations packed =
      buffer.prepare(nibble::Activations::Float, inputs.rows(), cols, kernels.tile_width[0]);
  for (Index tile = 0; tile < packed.tiles(); ++tile) {
    kernels.pack_activations(inputs.data(), cols, packed, tile);
  }
  nibble::Matrix outputs(inputs.rows(), rows);
  nibble::matmul<nibble::simd::Native, UnitInt8, nibble::Activations::Float>(
      {weights.view(), packed, outputs.data(), rows, 0, weights.view().panels(), 0,
       packed.tiles()});

  const nibble::Matrix expected = inputs * weights.dequantize().transpose();
  CHECK((outputs - expected).cwiseAbs().maxCoeff() < 1e-4);
}
