// Numbers as people read them.
#pragma once

#include <cstdint>
#include <iomanip>
#include <locale>
#include <sstream>
#include <string>

namespace nibble::example {

/// `value` with so many digits after the point.
[[nodiscard]] inline std::string fixed(double value, int digits) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}

/// A measured `value` from 0 on with three significant digits, or two and an exponent below 0.001.
[[nodiscard]] inline std::string significant(double value) {
  if (value >= 99.95) return fixed(value, 0);
  if (value >= 9.995) return fixed(value, 1);
  if (value >= 0.9995) return fixed(value, 2);
  if (value >= 0.09995) return fixed(value, 3);
  if (value >= 0.009995) return fixed(value, 4);
  if (value >= 0.0009995) return fixed(value, 5);
  if (value < 1e-9) return "0";  // below what float32 logits can tell
  std::ostringstream out;
  out.imbue(std::locale::classic());
  out << std::setprecision(2) << value;
  return out.str();
}

/// In millions of bytes.
[[nodiscard]] inline std::string megabytes(std::uint64_t bytes) {
  return fixed(static_cast<double>(bytes) / 1e6, 2);
}

}  // namespace nibble::example
