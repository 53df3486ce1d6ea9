# Finds xsimd through its own config and gives it one name in every version: xsimd::xsimd.
find_package(xsimd CONFIG QUIET)

if(TARGET xsimd)
  # Versions up to 8 as packaged by Debian link an optional library, xtl, that may not be there:
  # left as it is, the name would reach the linker.
  get_target_property(_xsimd_links xsimd INTERFACE_LINK_LIBRARIES)
  if("xtl" IN_LIST _xsimd_links AND NOT TARGET xtl)
    find_package(xtl CONFIG QUIET)
    if(NOT TARGET xtl)
      add_library(xtl INTERFACE IMPORTED)
    endif()
  endif()
  unset(_xsimd_links)
  if(NOT TARGET xsimd::xsimd)
    add_library(xsimd::xsimd INTERFACE IMPORTED)
    target_link_libraries(xsimd::xsimd INTERFACE xsimd)
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  xsimd
  REQUIRED_VARS xsimd_CONFIG
  VERSION_VAR xsimd_VERSION)
