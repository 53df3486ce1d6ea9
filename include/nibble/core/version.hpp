// The version of these headers.
#pragma once

#include <string_view>

namespace nibble {

/// "major.minor.patch", as in CMakeLists.txt and vcpkg.json.
inline constexpr std::string_view library_version = "0.1.0";

}  // namespace nibble
