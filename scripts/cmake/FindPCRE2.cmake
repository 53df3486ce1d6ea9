# Finds the 8-bit library of PCRE2, by its CMake config or by pkg-config: PCRE2::8BIT.
find_package(PCRE2 CONFIG QUIET COMPONENTS 8BIT)

if(NOT TARGET PCRE2::8BIT)
  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(PCRE2_PC QUIET IMPORTED_TARGET libpcre2-8)
    if(PCRE2_PC_FOUND)
      set(PCRE2_VERSION "${PCRE2_PC_VERSION}")
      add_library(PCRE2::8BIT INTERFACE IMPORTED)
      target_link_libraries(PCRE2::8BIT INTERFACE PkgConfig::PCRE2_PC)
    endif()
  endif()
endif()

if(TARGET PCRE2::8BIT)
  set(PCRE2_8BIT_TARGET PCRE2::8BIT)
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  PCRE2
  REQUIRED_VARS PCRE2_8BIT_TARGET
  VERSION_VAR PCRE2_VERSION)
