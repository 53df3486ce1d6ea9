// The packed bytes of every format, rebuilt here bit by bit from the layout's description: files
// are mapped as they are, so a change of these bytes is a new layout version.
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "nibble/format/any_matrix.hpp"
#include "support/catch.hpp"
#include "support/isas.hpp"
#include "support/matrices.hpp"

using namespace nibble;
using test::RowContents;

namespace {

using Bytes = std::vector<std::byte>;

/// Adds bits [shift, shift + ...) of a byte.
void put(Bytes& bytes, std::size_t at, unsigned bits, unsigned shift) {
  bytes.at(at) |= static_cast<std::byte>(bits << shift);
}

void append(Bytes& bytes, const void* data, std::size_t size) {
  const auto* first = static_cast<const std::byte*>(data);
  bytes.insert(bytes.end(), first, first + size);
}

std::size_t up(std::size_t value, std::size_t step) {
  return (value + step - 1) / step * step;
}

/// Where the bits of a code go; `base` is the first byte of the panel's codes.
void put_code(Bytes& bytes, std::size_t base, int bits, std::size_t row, std::size_t col,
              unsigned code) {
  const std::size_t in_vector = row * 4 + col % 4;  // [16 rows][4 inputs]
  if (bits == 8) {
    put(bytes, base + col / 4 * 64 + in_vector, code, 0);
  } else if (bits == 4) {
    put(bytes, base + col / 8 * 64 + in_vector, code, col % 8 < 4 ? 0 : 4);
  } else if (bits == 2) {
    put(bytes, base + col / 16 * 64 + in_vector, code, 2 * static_cast<unsigned>(col % 16 / 4));
  } else {
    const std::size_t unit = base + col / 32 * 192 + in_vector;
    switch (col % 32 / 4) {
      case 0:
        return put(bytes, unit, code, 0);
      case 1:
        return put(bytes, unit, code, 3);
      case 2:
        return put(bytes, unit + 64, code, 0);
      case 3:
        return put(bytes, unit + 64, code, 3);
      case 4:
        return put(bytes, unit + 128, code, 0);
      case 5:
        return put(bytes, unit + 128, code, 3);
      case 6:
        put(bytes, unit, code & 3U, 6);
        return put(bytes, unit + 128, code >> 2U, 6);
      default:
        put(bytes, unit + 64, code & 3U, 6);
        return put(bytes, unit + 128, code >> 2U, 7);
    }
  }
}

std::size_t code_bytes(int bits, std::size_t cols) {
  switch (bits) {
    case 8:
      return up(cols, 4) * 16;
    case 4:
      return up(cols, 8) * 8;
    case 3:
      return up(cols, 32) * 6;
    default:
      return up(cols, 16) * 4;
  }
}

/// The rows of one panel, 16 or fewer; rows that are missing are zero bytes.
template <class F>
Bytes expected_panel(const F& format, std::size_t cols, const std::vector<RowContents>& rows) {
  Bytes bytes;
  if constexpr (FloatWeightFormat<F>) {
    for (std::size_t col = 0; col < cols; col += F::unit_inputs) {
      for (std::size_t row = 0; row < 16; ++row) {
        for (std::size_t i = col; i < col + F::unit_inputs; ++i) {
          const bool there = row < rows.size() && i < cols;
          const auto value = from_float<typename F::Element>(there ? rows[row].weights[i] : 0.0F);
          append(bytes, &value, sizeof value);
        }
      }
    }
  } else {
    const std::size_t size =
        format.group_size == 0 ? cols : static_cast<std::size_t>(format.group_size);
    const std::size_t groups = (cols + size - 1) / size;
    const auto append_header = [&](const auto& field) {
      for (std::size_t group = 0; group < groups; ++group) {
        for (std::size_t row = 0; row < 16; ++row) {
          std::decay_t<decltype(field(rows[0])[0])> value{};
          if (row < rows.size()) value = field(rows[row])[group];
          append(bytes, &value, sizeof value);
        }
      }
    };
    int bits = 8;
    if constexpr (std::is_same_v<F, ZeroOneInt8>) {
      append_header([](const RowContents& row) -> const auto& { return row.minima; });
      append_header([](const RowContents& row) -> const auto& { return row.maxima; });
    } else {
      bits = F::bits;
      append_header([](const RowContents& row) -> const auto& { return row.scales; });
      if (format.has_zeros) {
        append_header([](const RowContents& row) -> const auto& { return row.zeros; });
      }
    }
    const std::size_t header = up(bytes.size(), 64);
    bytes.resize(header + code_bytes(bits, cols));
    for (std::size_t row = 0; row < rows.size(); ++row) {
      for (std::size_t col = 0; col < cols; ++col) {
        put_code(bytes, header, bits, row, col, rows[row].codes[col]);
      }
    }
  }
  bytes.resize(up(bytes.size(), 64));
  return bytes;
}

struct Shape {
  Index rows;
  Index cols;
};

constexpr Shape shapes[] = {{1, 1}, {1, 3}, {17, 33}, {16, 32}, {5, 129}, {37, 300}, {33, 64}};

template <class Visit>
void for_each_format(Visit&& visit) {
  for (const AnyFormat& any_format : test::all_formats()) {
    INFO(describe_format(any_format));
    std::visit(visit, any_format);
  }
}

}  // namespace

TEST_CASE("packed bytes are those of the layout's description", "[layout]") {
  test::Random random(30);
  for_each_format([&](const auto& format) {
    for (const Shape shape : shapes) {
      CAPTURE(shape.rows, shape.cols);
      const auto rows = test::random_rows(format, shape.rows, shape.cols, random);
      const auto matrix = test::pack(format, shape.cols, rows);
      Bytes expected;
      for (std::size_t first = 0; first < rows.size(); first += 16) {
        const auto end = std::min(first + 16, rows.size());
        const std::vector<RowContents> panel(rows.begin() + static_cast<Index>(first),
                                             rows.begin() + static_cast<Index>(end));
        const Bytes bytes = expected_panel(format, static_cast<std::size_t>(shape.cols), panel);
        CHECK(bytes.size() == matrix.view().layout.panel_bytes);
        append(expected, bytes.data(), bytes.size());
      }
      REQUIRE(matrix.bytes().size() == expected.size());
      CHECK(std::memcmp(matrix.bytes().data(), expected.data(), expected.size()) == 0);
      CHECK(packed_bytes(format, shape.rows, shape.cols) == expected.size());
      CHECK(packed_bytes(AnyFormat(format), shape.rows, shape.cols) == expected.size());
    }
  });
}

TEST_CASE("what is written to a row is read back", "[layout]") {
  test::Random random(31);
  for_each_format([&]<class F>(const F& format) {
    for (const Shape shape : shapes) {
      CAPTURE(shape.rows, shape.cols);
      const auto rows = test::random_rows(format, shape.rows, shape.cols, random);
      const auto matrix = test::pack(format, shape.cols, rows);
      const PanelLayout& layout = matrix.view().layout;
      int failures = 0;
      for (Index row = 0; row < shape.rows; ++row) {
        const RowContents& contents = rows[static_cast<std::size_t>(row)];
        const std::byte* panel = matrix.view().panel(row / 16);
        const Index lane = row % 16;
        for (Index col = 0; col < shape.cols; ++col) {
          const auto c = static_cast<std::size_t>(col);
          const auto group = c / static_cast<std::size_t>(layout.group_size);
          double expected = 0;
          if constexpr (FloatWeightFormat<F>) {
            expected = contents.weights[c];
          } else {
            failures += F::code(panel, layout, lane, col) != contents.codes[c];
            const auto g = static_cast<Index>(group);
            if constexpr (std::is_same_v<F, ZeroOneInt8>) {
              const double low = contents.minima[group];
              const double high = contents.maxima[group];
              failures += F::minimum(panel, lane, g) != contents.minima[group];
              failures += F::maximum(panel, layout, lane, g) != contents.maxima[group];
              expected = low + contents.codes[c] * (high - low) / 255;
            } else {
              const int zero = format.has_zeros ? contents.zeros[group] : 1 << (F::bits - 1);
              failures += F::scale(panel, lane, g) != contents.scales[group];
              failures += F::zero(panel, layout, lane, g) != zero;
              expected = static_cast<double>(to_float(contents.scales[group])) *
                         (contents.codes[c] - zero);  // exact in double, and in float
            }
          }
          const double found = matrix(row, col);
          // Zero-one alone is rounded.
          const double tolerance = std::is_same_v<F, ZeroOneInt8>
                                       ? test::float_epsilon * std::abs(expected) + 1e-14
                                       : 0.0;
          failures += !(std::abs(found - expected) <= tolerance);
        }
      }
      CHECK(failures == 0);
    }
  });
}

TEST_CASE("zero-one is exact at both ends however far they are apart", "[layout]") {
  test::Random random(32);
  int failures = 0;
  for (int round = 0; round < 3000; ++round) {
    float low = test::random_bits(random);
    float high = test::random_bits(random);
    if (!std::isfinite(low) || !std::isfinite(high)) continue;
    if (low > high) std::swap(low, high);
    const std::vector<std::uint8_t> codes{0, 255};
    MatrixBuilder<ZeroOneInt8> builder(ZeroOneInt8{}, 1, 2);
    builder.set_row(0, {codes, {&low, 1}, {&high, 1}});
    const auto matrix = std::move(builder).finish();
    failures += matrix(0, 0) != low || matrix(0, 1) != high;
  }
  CHECK(failures == 0);
}
