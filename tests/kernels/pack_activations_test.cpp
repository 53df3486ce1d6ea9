#include "nibble/kernels/pack_activations.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/kernel_tables.hpp"
#include "kernels/packed_inputs.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

using namespace nibble;

namespace {

struct InputShape {
  Index tokens;
  Index cols;
};

constexpr InputShape input_shapes[] = {{1, 1},    {2, 3},    {3, 31},  {5, 32}, {16, 33},
                                       {17, 127}, {33, 129}, {4, 257}, {7, 300}};

/// Calls visit(tile, width, token in tile, token) for every token and every place that is empty.
template <class Visit>
void for_each_place(const PackedActivations& packed, Visit&& visit) {
  for (Index tile = 0; tile < packed.tiles(); ++tile) {
    const Index width = packed.width_of(tile);
    for (Index n = 0; n < width; ++n) visit(tile, width, n, packed.first_token(tile) + n);
  }
}

int differences_from_reference(const KernelTable& table, const std::vector<float>& inputs,
                               Index tokens, Index cols) {
  ActivationBuffer buffer;
  const auto packed =
      test::pack_inputs(table, Activations::Int8, inputs.data(), tokens, cols, cols, buffer);
  int failures = 0;
  for_each_place(packed, [&](Index tile, Index width, Index n, Index token) {
    std::vector<float> row(static_cast<std::size_t>(cols), 0.0F);
    if (token < tokens) {
      row.assign(inputs.begin() + token * cols, inputs.begin() + (token + 1) * cols);
    }
    test::ReferenceInputs expected = test::reference_inputs(row);
    expected.codes.resize(static_cast<std::size_t>(packed.padded_cols()), 0);
    for (Index col = 0; col < packed.padded_cols(); ++col) {
      const int code =
          packed.tile_inputs<std::int8_t>(tile)[(col / 64 * width + n) * 64 + col % 64];
      failures += code != expected.codes[static_cast<std::size_t>(col)];
    }
    for (Index group = 0; group < packed.scale_groups(); ++group) {
      failures += std::bit_cast<std::uint32_t>(packed.tile_scales(tile)[group * width + n]) !=
                  std::bit_cast<std::uint32_t>(expected.scales[static_cast<std::size_t>(group)]);
    }
    for (const Index size : {32, 64, 128}) {
      for (Index block = 0; block * size < cols; ++block) {
        const auto first = static_cast<std::size_t>(block * size / 32);
        const auto end =
            std::min(first + static_cast<std::size_t>(size) / 32, expected.sums.size());
        float sum = 0;
        for (std::size_t i = first; i < end; ++i) sum += static_cast<float>(expected.sums[i]);
        failures += packed.tile_sums(tile, size)[block * width + n] != sum;
      }
    }
  });
  return failures;
}

}  // namespace

TEST_CASE("tiles cover all tokens", "[activations]") {
  for (const Index width : {1, 2, 4, 16}) {
    for (Index tokens = 1; tokens < 70; ++tokens) {
      ActivationBuffer buffer;
      const PackedActivations packed = buffer.prepare(Activations::Int8, tokens, 33, width);
      Index seen = 0;
      for (Index tile = 0; tile < packed.tiles(); ++tile) {
        const Index in_tile = packed.tokens_in(tile);
        REQUIRE(packed.first_token(tile) == seen);
        REQUIRE(in_tile >= 1);
        REQUIRE(packed.width_of(tile) >= in_tile);
        REQUIRE(packed.width_of(tile) < 2 * in_tile);
        REQUIRE(packed.width_of(tile) <= width);
        REQUIRE(std::has_single_bit(static_cast<std::size_t>(packed.width_of(tile))));
        seen += in_tile;
      }
      REQUIRE(seen == tokens);
    }
  }
}

TEST_CASE("float inputs lie in runs and are padded with zeros", "[pack_activations]") {
  test::Random random(90);
  for (const KernelTable* table : test::kernel_tables()) {
    CAPTURE(table->isa);
    ActivationBuffer buffer;  // kept, so that old contents would show
    for (const InputShape shape : input_shapes) {
      const Index stride = shape.cols + 5;
      const auto inputs = test::random_floats(random, shape.tokens * stride);
      const auto packed = test::pack_inputs(*table, Activations::Float, inputs.data(), shape.tokens,
                                            shape.cols, stride, buffer);
      int failures = 0;
      for_each_place(packed, [&](Index tile, Index width, Index n, Index token) {
        for (Index col = 0; col < packed.padded_cols(); ++col) {
          const bool there = token < shape.tokens && col < shape.cols;
          const float expected =
              there ? inputs[static_cast<std::size_t>(token * stride + col)] : 0.0F;
          failures +=
              packed.tile_inputs<float>(tile)[(col / 16 * width + n) * 16 + col % 16] != expected;
        }
      });
      CAPTURE(shape.tokens, shape.cols);
      CHECK(failures == 0);
    }
  }
}

TEST_CASE("bfloat16 inputs are rounded", "[pack_activations]") {
  test::Random random(92);
  constexpr Index tokens = 3, cols = 77;
  const auto inputs = test::random_floats(random, tokens * cols);
  for (const KernelTable* table : test::kernel_tables()) {
    CAPTURE(table->isa);
    ActivationBuffer buffer;
    const auto packed =
        test::pack_inputs(*table, Activations::BFloat16, inputs.data(), tokens, cols, cols, buffer);
    int failures = 0;
    for_each_place(packed, [&](Index tile, Index width, Index n, Index token) {
      for (Index col = 0; col < packed.padded_cols(); ++col) {
        const bool there = token < tokens && col < cols;
        const BFloat16 expected =
            to_bfloat16(there ? inputs[static_cast<std::size_t>(token * cols + col)] : 0.0F);
        failures +=
            packed.tile_inputs<BFloat16>(tile)[(col / 32 * width + n) * 32 + col % 32] != expected;
      }
    });
    CHECK(failures == 0);
  }
}

TEST_CASE("int8 inputs are the same integers on every instruction set", "[pack_activations]") {
  test::Random random(91);
  for (const InputShape shape : input_shapes) {
    const auto count = shape.tokens * shape.cols;
    const int exponent = test::random_integer(random, -30, 30);
    std::vector<float> inputs = test::random_floats(random, count, std::ldexp(1.0F, exponent));
    // Multiples of a 254th of the range, among them ties.
    for (std::size_t i = 0; i < inputs.size(); i += 2) {
      inputs[i] = std::ldexp(static_cast<float>(test::random_integer(random, -254, 254)) / 254,
                             exponent + 2);
    }
    for (const KernelTable* table : test::kernel_tables()) {
      CAPTURE(table->isa, shape.tokens, shape.cols);
      CHECK(differences_from_reference(*table, inputs, shape.tokens, shape.cols) == 0);
    }
  }
}

TEST_CASE("int8 inputs at the ends of float32", "[pack_activations]") {
  constexpr float largest = std::numeric_limits<float>::max();
  constexpr float least = std::numeric_limits<float>::denorm_min();
  for (const KernelTable* table : test::kernel_tables()) {
    CAPTURE(table->isa);
    for (const float size : {0.0F, least, 1e-40F, 127 / largest, 4e-37F, 1e-30F, largest}) {
      CAPTURE(size);
      CHECK(differences_from_reference(*table, {size, -size, 0.5F * size, 0.0F, size}, 1, 5) == 0);
    }
  }
}

TEST_CASE("an input that is not finite shows in its group's scale alone", "[pack_activations]") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const KernelTable* table : test::kernel_tables()) {
    CAPTURE(table->isa);
    for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
      for (const std::size_t at : {0U, 15U, 16U, 127U}) {
        std::vector<float> inputs(2 * 300, 1.0F);
        inputs[at] = bad;
        ActivationBuffer buffer;
        const auto packed =
            test::pack_inputs(*table, Activations::Int8, inputs.data(), 2, 300, 300, buffer);
        CHECK(std::isnan(packed.tile_scales(0)[0]));
        CHECK(std::isfinite(packed.tile_scales(0)[packed.width_of(0)]));
        CHECK(packed.tile_sums(0, 32)[0] == 0);
        CHECK(packed.width_of(0) == 2);
        CHECK(std::isfinite(packed.tile_scales(0)[1]));
      }
    }
  }
}

TEST_CASE("activations have names", "[activations]") {
  CHECK(activations_name(Activations::Float) == "float");
  CHECK(activations_name(Activations::BFloat16) == "bfloat16");
  CHECK(activations_name(Activations::Int8) == "int8");
}
