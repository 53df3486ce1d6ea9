// Errors: the one exception root, and the few helpers that build a message.
#pragma once

#include <locale>
#include <sstream>
#include <stdexcept>
#include <string>

namespace nibble {

/// Root of everything that nibble throws. The message names the culprit (file, tensor, field or
/// argument), says what was found and what was expected, and holds no line break.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Thrown when a progress callback asked to stop; nothing is left half-done.
class Cancelled : public Error {
 public:
  Cancelled() : Error("cancelled") {}
};

/// Joins the parts as `operator<<` prints them, independent of the program's locale.
template <class... Parts>
[[nodiscard]] std::string concat(const Parts&... parts) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  (out << ... << parts);
  return out.str();
}

/// Throws `Error(concat(parts...))`.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error(concat(parts...));
}

}  // namespace nibble
