# Finds utf8proc, by a CMake config or by pkg-config: utf8proc::utf8proc.
find_package(utf8proc CONFIG QUIET)
if(NOT TARGET utf8proc::utf8proc)
  find_package(unofficial-utf8proc CONFIG QUIET)  # vcpkg's
  if(TARGET utf8proc)
    add_library(utf8proc::utf8proc INTERFACE IMPORTED)
    target_link_libraries(utf8proc::utf8proc INTERFACE utf8proc)
  endif()
endif()

if(NOT TARGET utf8proc::utf8proc)
  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(UTF8PROC_PC QUIET IMPORTED_TARGET libutf8proc)
    if(UTF8PROC_PC_FOUND)
      set(utf8proc_VERSION "${UTF8PROC_PC_VERSION}")
      add_library(utf8proc::utf8proc INTERFACE IMPORTED)
      target_link_libraries(utf8proc::utf8proc INTERFACE PkgConfig::UTF8PROC_PC)
    endif()
  endif()
endif()

if(TARGET utf8proc::utf8proc)
  set(utf8proc_TARGET utf8proc::utf8proc)
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  utf8proc
  REQUIRED_VARS utf8proc_TARGET
  VERSION_VAR utf8proc_VERSION)
