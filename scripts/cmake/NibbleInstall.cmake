# Headers, targets and the files by which find_package(nibble) finds them.
include(CMakePackageConfigHelpers)

# An installed nibble finds its dependencies by itself, so what was only fetched must not be
# written into the package.
foreach(dependency IN ITEMS Eigen3 xsimd nlohmann_json PCRE2 utf8proc)
  string(TOLOWER ${dependency} lower)
  if(DEFINED ${lower}_SOURCE_DIR)
    message(STATUS "nibble: no install target, because ${dependency} is not installed")
    set(NIBBLE_INSTALL OFF)
    return()
  endif()
endforeach()

set(nibble_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/nibble)

install(
  TARGETS nibble nibble_core nibble_io nibble_text nibble_search nibble_native nibble_dispatch
  EXPORT nibbleTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  FILE_SET HEADERS)
install(EXPORT nibbleTargets NAMESPACE nibble:: DESTINATION ${nibble_cmake_dir})

configure_package_config_file(
  "${CMAKE_CURRENT_LIST_DIR}/nibbleConfig.cmake.in" "${PROJECT_BINARY_DIR}/nibbleConfig.cmake"
  INSTALL_DESTINATION ${nibble_cmake_dir})
write_basic_package_version_file(
  "${PROJECT_BINARY_DIR}/nibbleConfigVersion.cmake"
  COMPATIBILITY SameMajorVersion)
install(
  FILES "${PROJECT_BINARY_DIR}/nibbleConfig.cmake"
        "${PROJECT_BINARY_DIR}/nibbleConfigVersion.cmake"
        "${CMAKE_CURRENT_LIST_DIR}/Findxsimd.cmake" "${CMAKE_CURRENT_LIST_DIR}/FindPCRE2.cmake"
        "${CMAKE_CURRENT_LIST_DIR}/Findutf8proc.cmake"
  DESTINATION ${nibble_cmake_dir})
install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION ${CMAKE_INSTALL_DATADIR}/nibble)
