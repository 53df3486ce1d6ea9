// Every weight format with every combination of its options, and matrices of random contents.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "nibble/core/error.hpp"
#include "nibble/format/any_matrix.hpp"
#include "support/random.hpp"

namespace nibble::test {

/// All formats with all the options that they have.
[[nodiscard]] inline std::vector<AnyFormat> all_formats() {
  std::vector<AnyFormat> formats;
  for (const std::string_view name : Formats::names) {
    for (const Index group_size : {0, 32, 64, 128}) {
      for (const bool asymmetric : {false, true}) {
        for (const bool per_tensor : {false, true}) {
          try {
            formats.push_back(make_format(name, {group_size, asymmetric, per_tensor}));
          } catch (const Error&) {
            continue;  // the format has no such option
          }
        }
      }
    }
  }
  return formats;
}

/// What a row is made of before packing; a format takes what it has.
struct RowContents {
  std::vector<float> weights;
  std::vector<std::uint8_t> codes;
  std::vector<Float16> scales;
  std::vector<std::uint8_t> zeros;
  std::vector<float> minima;
  std::vector<float> maxima;
};

/// Any codes and zeros; scales and ranges around 1, so that sums of them are ordinary numbers.
template <WeightFormat F>
[[nodiscard]] RowContents random_row(const F& format, Index cols, Random& random) {
  RowContents row;
  const auto groups = static_cast<std::size_t>(format.layout(cols).groups);
  const auto count = static_cast<std::size_t>(cols);
  if constexpr (FloatWeightFormat<F>) {
    row.weights = random_floats(random, cols);
    for (float& weight : row.weights) {
      weight = to_float(from_float<typename F::Element>(weight));
    }
  } else {
    unsigned max_code = 255;
    if constexpr (!std::is_same_v<F, ZeroOneInt8>) max_code = F::max_code;
    const auto random_code = [&] {
      return static_cast<std::uint8_t>(random_integer(random, 0U, max_code));
    };
    row.codes.resize(count);
    std::generate(row.codes.begin(), row.codes.end(), random_code);
    for (std::size_t group = 0; group < groups; ++group) {
      const std::vector<float> two = random_floats(random, 2);
      if constexpr (std::is_same_v<F, ZeroOneInt8>) {
        row.minima.push_back(std::min(two[0], two[1]));
        row.maxima.push_back(std::max(two[0], two[1]));
      } else {
        row.scales.push_back(to_float16(two[0]));
        if (format.has_zeros) row.zeros.push_back(random_code());
      }
    }
  }
  return row;
}

template <WeightFormat F>
[[nodiscard]] typename F::Row as_row(const RowContents& row) {
  if constexpr (FloatWeightFormat<F>) {
    return row.weights;
  } else if constexpr (std::is_same_v<F, ZeroOneInt8>) {
    return {row.codes, row.minima, row.maxima};
  } else {
    return {row.codes, row.scales, row.zeros};
  }
}

/// The matrix of these rows.
template <WeightFormat F>
[[nodiscard]] QuantizedMatrix<F> pack(const F& format, Index cols,
                                      const std::vector<RowContents>& rows) {
  MatrixBuilder<F> builder(format, static_cast<Index>(rows.size()), cols);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    builder.set_row(static_cast<Index>(i), as_row<F>(rows[i]));
  }
  return std::move(builder).finish();
}

template <WeightFormat F>
[[nodiscard]] std::vector<RowContents> random_rows(const F& format, Index rows, Index cols,
                                                   Random& random) {
  std::vector<RowContents> contents;
  for (Index i = 0; i < rows; ++i) contents.push_back(random_row(format, cols, random));
  return contents;
}

/// A matrix whose padding, in rows and in inputs, holds random codes too, as a file's might.
[[nodiscard]] inline AnyMatrix random_matrix(const AnyFormat& any_format, Index rows, Index cols,
                                             Random& random) {
  return std::visit(
      [&]<class F>(const F& format) {
        const Index more_rows = round_up(rows, panel_rows);
        const Index more_cols = round_up(cols, F::unit_inputs);
        const QuantizedMatrix<F> larger =
            pack(format, more_cols, random_rows(format, more_rows, more_cols, random));
        const auto owner = std::make_shared<QuantizedMatrix<F>>(larger);
        return AnyMatrix(QuantizedMatrix<F>(format, rows, cols, owner->bytes(), owner));
      },
      any_format);
}

}  // namespace nibble::test
