#include "nibble/kernels/matmul.hpp"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>
#include <vector>

#include "kernels/kernel_tables.hpp"
#include "kernels/packed_inputs.hpp"
#include "support/catch.hpp"
#include "support/isas.hpp"
#include "support/matrices.hpp"

using namespace nibble;
using test::float_epsilon;

namespace {

constexpr Activations all_kinds[] = {Activations::Float, Activations::BFloat16, Activations::Int8};

struct Shape {
  Index rows;
  Index cols;
  Index tokens;
};

/// A result and how far from it a kernel may be.
struct ExpectedSum {
  double value = 0;
  double tolerance = 0;
};

bool takes(const KernelTable& table, const AnyMatrix& matrix, Activations kind) {
  return table.matmul[matrix.format_index()][static_cast<std::size_t>(kind)] != nullptr;
}

/// A matmul in `parts` x `parts` pieces of panels and tiles, [tokens][rows].
std::vector<float> run(const KernelTable& table, const AnyMatrix& matrix, Activations kind,
                       const float* inputs, Index tokens, Index parts = 1) {
  const Index rows = matrix.rows();
  const Index stride = rows + 3;
  constexpr float untouched = -12345.0F;
  std::vector<float> padded(static_cast<std::size_t>(tokens * stride), untouched);
  ActivationBuffer buffer;
  const PackedActivations packed =
      test::pack_inputs(table, kind, inputs, tokens, matrix.cols(), matrix.cols(), buffer);
  const Index panels = matrix.view().panels();
  const Index panel_step = divide_up(panels, parts);
  const Index tile_step = divide_up(packed.tiles(), parts);
  for (Index panel = 0; panel < panels; panel += panel_step) {
    for (Index tile = 0; tile < packed.tiles(); tile += tile_step) {
      table.matmul[matrix.format_index()][static_cast<std::size_t>(kind)](
          {.weights = matrix.view(),
           .inputs = packed,
           .output = padded.data(),
           .output_stride = stride,
           .first_panel = panel,
           .end_panel = std::min(panel + panel_step, panels),
           .first_tile = tile,
           .end_tile = std::min(tile + tile_step, packed.tiles())});
    }
  }
  std::vector<float> output;
  for (Index token = 0; token < tokens; ++token) {
    const float* row = padded.data() + token * stride;
    output.insert(output.end(), row, row + rows);
    for (Index i = rows; i < stride; ++i) REQUIRE(row[i] == untouched);
  }
  return output;
}

/// The range's larger end where the kernels' zero-one weights are rounded in its proportion.
double range_end(const AnyMatrix& matrix, Index row, Index group) {
  return matrix.visit([&]<class F>(const QuantizedMatrix<F>& m) -> double {
    if constexpr (std::is_same_v<F, ZeroOneInt8>) {
      const std::byte* panel = m.view().panel(row / panel_rows);
      return std::max(std::abs(F::minimum(panel, row % panel_rows, group)),
                      std::abs(F::maximum(panel, m.view().layout, row % panel_rows, group)));
    } else {
      return 0;
    }
  });
}

/// Products and sums of n terms in float32, each rounded once: Higham's gamma_n, with n one larger
/// where product and sum are rounded apart. A zero-one weight differs by 9 roundings of its range's
/// end (see ZeroOneInt8::load_group), and by one more from `value`, which is rounded itself.
ExpectedSum expected_float(const AnyMatrix& matrix, const Matrix& weights, Index row,
                           const float* inputs) {
  ExpectedSum expected;
  double magnitude = 0;
  double weight_error = 0;
  const Index group_size = matrix.view().layout.group_size;
  for (Index col = 0; col < matrix.cols(); ++col) {
    const double product = static_cast<double>(weights(row, col)) * inputs[col];
    expected.value += product;
    magnitude += std::abs(product);
    weight_error += range_end(matrix, row, col / group_size) * 10 * std::abs(inputs[col]);
  }
  const double n = static_cast<double>(matrix.cols()) + 1;
  const double gamma = n * float_epsilon / (1 - n * float_epsilon);
  expected.tolerance = gamma * magnitude + float_epsilon * weight_error * (1 + gamma);
  return expected;
}

/// Exact integers within a segment (inputs that share both scales), scales in double.
template <IntegerWeightFormat F>
ExpectedSum expected_int8(const QuantizedMatrix<F>& matrix, Index row,
                          const test::ReferenceInputs& inputs) {
  const std::byte* panel = matrix.view().panel(row / panel_rows);
  const Index lane = row % panel_rows;
  const PanelLayout& layout = matrix.view().layout;
  const Index segment = std::min(layout.group_size, activation_group);
  ExpectedSum expected;
  double magnitude = 0;
  double map_error = 0;  // of scales and offsets, in roundings
  double terms = 0;
  for (Index first = 0; first < matrix.cols(); first += segment) {
    const Index group = first / layout.group_size;
    const double input_scale = inputs.scales[static_cast<std::size_t>(first / activation_group)];
    std::int64_t dot = 0;
    std::int64_t total = 0;
    const int zero = [&] {
      if constexpr (F::has_offset)
        return 128;
      else
        return F::zero(panel, layout, lane, group);
    }();
    for (Index col = first; col < std::min(first + segment, matrix.cols()); ++col) {
      const int code = inputs.codes[static_cast<std::size_t>(col)];
      total += code;
      dot += (static_cast<int>(F::code(panel, layout, lane, col)) - zero) * code;
    }
    const auto add = [&](double product) {
      expected.value += product;
      magnitude += std::abs(product);
      ++terms;
    };
    const auto integer = static_cast<double>(dot);
    if constexpr (F::has_offset) {
      const double low = F::minimum(panel, lane, group);
      const double step = (F::maximum(panel, layout, lane, group) - low) / 255;
      const double offset = low + 128 * step;
      const auto sum = static_cast<double>(total) * input_scale;
      add(integer * step * input_scale);
      add(offset * sum);
      // The step has three roundings, which the offset has 128 times, and one of its own.
      map_error += 3 * std::abs(integer) * step * input_scale +
                   (3 * 128 * step + std::abs(offset)) * std::abs(sum);
    } else {
      add(integer * static_cast<double>(to_float(F::scale(panel, lane, group))) * input_scale);
    }
  }
  // A term is rounded in its scale, its product and in every sum from there on.
  const double gamma = (terms + 2) * float_epsilon / (1 - (terms + 2) * float_epsilon);
  expected.tolerance = gamma * magnitude + map_error * float_epsilon * (1 + 2 * gamma);
  return expected;
}

/// As expected_float, of inputs rounded to bfloat16; subnormal products and sums may be zero.
ExpectedSum expected_bfloat16(const AnyMatrix& matrix, const Matrix& weights, Index row,
                              const float* inputs) {
  std::vector<float> rounded;
  for (Index col = 0; col < matrix.cols(); ++col) {
    rounded.push_back(to_float(to_bfloat16(inputs[col])));
  }
  ExpectedSum expected = expected_float(matrix, weights, row, rounded.data());
  expected.tolerance += 2 * static_cast<double>(matrix.cols()) * 0x1p-126;
  return expected;
}

/// All results, [tokens][rows].
std::vector<ExpectedSum> expected_results(const AnyMatrix& matrix, Activations kind,
                                          const float* inputs, Index tokens) {
  std::vector<ExpectedSum> expected;
  const Matrix weights = matrix.dequantize();
  for (Index token = 0; token < tokens; ++token) {
    const float* row_inputs = inputs + token * matrix.cols();
    const auto quantized =
        test::reference_inputs({row_inputs, static_cast<std::size_t>(matrix.cols())});
    for (Index row = 0; row < matrix.rows(); ++row) {
      if (kind == Activations::Float) {
        expected.push_back(expected_float(matrix, weights, row, row_inputs));
      } else if (kind == Activations::BFloat16) {
        expected.push_back(expected_bfloat16(matrix, weights, row, row_inputs));
      } else {
        matrix.visit([&]<class F>(const QuantizedMatrix<F>& m) {
          if constexpr (IntegerWeightFormat<F>) {
            expected.push_back(expected_int8(m, row, quantized));
          }
        });
      }
    }
  }
  return expected;
}

void check_shape(const AnyFormat& format, const Shape& shape, test::Random& random) {
  CAPTURE(describe_format(format), shape.rows, shape.cols, shape.tokens);
  const AnyMatrix matrix = test::random_matrix(format, shape.rows, shape.cols, random);
  const auto inputs = test::random_floats(random, shape.tokens * shape.cols);
  for (const Activations kind : all_kinds) {
    const auto expected = expected_results(matrix, kind, inputs.data(), shape.tokens);
    for (const KernelTable* table : test::kernel_tables()) {
      if (!takes(*table, matrix, kind)) continue;
      const auto found = run(*table, matrix, kind, inputs.data(), shape.tokens);
      REQUIRE(found.size() == expected.size());
      int failures = 0;
      for (std::size_t i = 0; i < found.size(); ++i) {
        failures += !(std::abs(found[i] - expected[i].value) <= expected[i].tolerance);
      }
      CAPTURE(table->isa, activations_name(kind));
      CHECK(failures == 0);
    }
  }
}

bool same_bits(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

}  // namespace

TEST_CASE("every format times random inputs, against float64", "[matmul]") {
  test::Random random(100);
  constexpr Index token_counts[] = {1, 1, 2, 3, 5, 16, 17, 33};
  for (const AnyFormat& format : test::all_formats()) {
    for (int round = 0; round < 3; ++round) {
      const Shape shape{test::random_integer<Index>(random, 1, 70),
                        test::random_integer<Index>(random, 1, round == 0 ? 40 : 400),
                        token_counts[test::random_integer(random, 0, round == 2 ? 4 : 7)]};
      check_shape(format, shape, random);
    }
  }
}

TEST_CASE("shapes at the edges of blocks and groups, against float64", "[matmul]") {
  test::Random random(101);
  for (const std::string_view name : Formats::names) {
    const AnyFormat format = make_format(name);
    check_shape(format, {1, 1, 1}, random);
    check_shape(format, {16, 256, 1}, random);
    check_shape(format, {17, 257, 3}, random);
    check_shape(format, {5, 700, 2}, random);
    check_shape(format, {3, 33, 300}, random);  // more tokens than are summed at a time
  }
  // A header that is too long to be copied before its codes are used.
  check_shape(make_format("zero-one-int8", {.group_size = 32}), {16, 4160, 1}, random);
}

TEST_CASE("results of a token are the same bits however it is batched and split", "[matmul]") {
  constexpr Index tokens = 37;
  test::Random random(102);
  for (const AnyFormat& format : test::all_formats()) {
    const Index cols = 270;
    const AnyMatrix matrix = test::random_matrix(format, 35, cols, random);
    const auto inputs = test::random_floats(random, tokens * cols);
    for (const Activations kind : all_kinds) {
      for (const KernelTable* table : test::kernel_tables()) {
        if (!takes(*table, matrix, kind)) continue;
        CAPTURE(describe_format(format), table->isa, activations_name(kind));
        const auto whole = run(*table, matrix, kind, inputs.data(), tokens);
        int failures = 0;
        const auto compare = [&](const std::vector<float>& part, Index first) {
          for (std::size_t i = 0; i < part.size(); ++i) {
            failures += !same_bits(part[i], whole[static_cast<std::size_t>(first * 35) + i]);
          }
        };
        for (const Index parts : {2, 3}) {
          compare(run(*table, matrix, kind, inputs.data(), tokens, parts), 0);
        }
        for (const Index first : {Index{0}, Index{1}, tokens - 1}) {
          compare(run(*table, matrix, kind, inputs.data() + first * cols, 1), first);
        }
        for (Index first = 0; first < tokens;) {
          const Index count = std::min(test::random_integer<Index>(random, 2, 19), tokens - first);
          compare(run(*table, matrix, kind, inputs.data() + first * cols, count), first);
          first += count;
        }
        CHECK(failures == 0);
      }
    }
  }
}

TEST_CASE("more tokens than are summed at a time give the same bits", "[matmul]") {
  constexpr Index tokens = 300;
  test::Random random(103);
  const AnyMatrix int4 = test::random_matrix(make_format("int4"), 20, 150, random);
  const AnyMatrix bfloat16 = test::random_matrix(make_format("bfloat16"), 20, 150, random);
  const auto inputs = test::random_floats(random, tokens * 150);
  for (const Activations kind : all_kinds) {
    const AnyMatrix& matrix = kind == Activations::BFloat16 ? bfloat16 : int4;
    for (const KernelTable* table : test::kernel_tables()) {
      if (!takes(*table, matrix, kind)) continue;
      CAPTURE(table->isa, activations_name(kind));
      const auto whole = run(*table, matrix, kind, inputs.data(), tokens);
      int failures = 0;
      for (const Index token : {0, 1, 255, 256, 257, 299}) {
        const auto alone = run(*table, matrix, kind, inputs.data() + token * 150, 1);
        for (std::size_t row = 0; row < 20; ++row) {
          failures += !same_bits(alone[row], whole[static_cast<std::size_t>(token) * 20 + row]);
        }
      }
      CHECK(failures == 0);
    }
  }
}

TEST_CASE("an input that is not finite shows in its token's results alone", "[matmul]") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  constexpr Index cols = 200;
  test::Random random(104);
  for (const std::string_view name : Formats::names) {
    const AnyMatrix matrix = test::random_matrix(make_format(name), 18, cols, random);
    for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
      auto inputs = test::random_floats(random, 3 * cols);
      inputs[cols + 150] = bad;
      for (const Activations kind : all_kinds) {
        for (const KernelTable* table : test::kernel_tables()) {
          if (!takes(*table, matrix, kind)) continue;
          CAPTURE(name, table->isa, activations_name(kind), bad);
          const auto found = run(*table, matrix, kind, inputs.data(), 3);
          int failures = 0;
          for (std::size_t i = 0; i < found.size(); ++i) {
            failures += std::isfinite(found[i]) != (i / 18 != 1);
          }
          CHECK(failures == 0);
        }
      }
    }
  }
}

TEST_CASE("the padding of an odd number of columns is not used with float inputs", "[matmul]") {
  constexpr Index rows = 20;
  constexpr Index cols = 77;
  test::Random random(105);
  const AnyMatrix matrix = test::random_matrix(make_format("bfloat16"), rows, cols, random);
  const auto bytes = std::make_shared<AlignedBuffer>();
  std::byte* copy = bytes->make_room<std::byte>(static_cast<Index>(matrix.bytes().size()));
  std::memcpy(copy, matrix.bytes().data(), matrix.bytes().size());
  const PanelView& view = matrix.view();
  for (Index panel = 0; panel < view.panels(); ++panel) {
    for (Index lane = 0; lane < panel_rows; ++lane) {
      constexpr std::uint16_t nan = 0x7FC0;
      const std::byte* after_last = view.codes(panel) + (cols / 2 * panel_rows + lane) * 4 + 2;
      std::memcpy(copy + (after_last - matrix.bytes().data()), &nan, sizeof nan);
    }
  }
  const AnyMatrix padded =
      QuantizedMatrix<BFloat16Format>({}, rows, cols, {copy, matrix.bytes().size()}, bytes);
  const auto inputs = test::random_floats(random, 3 * cols);
  for (const KernelTable* table : test::kernel_tables()) {
    for (const Index tokens : {1, 3}) {
      CAPTURE(table->isa, tokens);
      CHECK(run(*table, padded, Activations::Float, inputs.data(), tokens) ==
            run(*table, matrix, Activations::Float, inputs.data(), tokens));
    }
  }
}

TEST_CASE("the largest integers are exact", "[matmul]") {
  // Codes 255 with zero point 0 (or the other way round) times 127: the largest sums there are.
  constexpr Index cols = 256;
  constexpr Index most_tokens = 17;
  const std::vector<Float16> scales{to_float16(1.0F)};
  for (const int code : {0, 255}) {
    const std::vector<std::uint8_t> codes(cols, static_cast<std::uint8_t>(code));
    const std::vector<std::uint8_t> zeros{static_cast<std::uint8_t>(255 - code)};
    MatrixBuilder<GroupInt<8>> builder(GroupInt<8>{0, true}, 1, cols);
    builder.set_row(0, {codes, scales, zeros});
    const AnyMatrix matrix = std::move(builder).finish();
    for (const int input : {-127, 127}) {
      const std::vector<float> inputs(most_tokens * cols, static_cast<float>(input));
      const std::vector<float> expected(most_tokens,
                                        static_cast<float>((2 * code - 255) * input * cols));
      for (const KernelTable* table : test::kernel_tables()) {
        for (const Index tokens : {Index{1}, Index{3}, most_tokens}) {
          CAPTURE(table->isa, code, input, tokens);
          const auto found = run(*table, matrix, Activations::Int8, inputs.data(), tokens);
          CHECK(std::equal(found.begin(), found.end(), expected.begin()));
        }
      }
    }
  }
}
