# NIBBLE_PRECOMPILE, with clang++ and Ninja: what nibble's programs and tests include is parsed once
# for all of them, and the functions in it are compiled once as well, into a library that all share.
# For builds that are made whole every time, as by continuous integration: only without it is a
# program or test noticed that forgets an include. (g++ has no such library, and would instantiate
# every template of every header in each file again: slower than without.)
option(NIBBLE_PRECOMPILE "Precompile the headers for nibble's own programs and tests" OFF)

# nibble_precompile(<executable>): its flags must be those of nibble_own. It gets all libraries, for
# the sake of their definitions, which are part of what was precompiled.
function(nibble_precompile target)
  if(NIBBLE_PRECOMPILE)
    target_precompile_headers(${target} REUSE_FROM nibble_precompiled)
    target_link_libraries(${target} PRIVATE nibble_precompiled_functions nibble::nibble)
  endif()
endfunction()

if(NOT NIBBLE_PRECOMPILE)
  return()
endif()
if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang" OR NOT CMAKE_GENERATOR MATCHES "Ninja")
  message(FATAL_ERROR "NIBBLE_PRECOMPILE takes clang++ and Ninja")
endif()

file(CONFIGURE OUTPUT precompiled.cpp CONTENT "")
add_library(nibble_precompiled OBJECT "${CMAKE_CURRENT_BINARY_DIR}/precompiled.cpp")
target_link_libraries(nibble_precompiled PRIVATE nibble::nibble nibble::dispatch nibble_own)
target_precompile_headers(
  nibble_precompiled PRIVATE <nibble/nibble.hpp> <nibble/dispatch/dispatch.hpp>)
if(NIBBLE_BUILD_EXAMPLES)
  target_link_libraries(nibble_precompiled PRIVATE CLI11::CLI11)
  target_precompile_headers(nibble_precompiled PRIVATE <CLI/CLI.hpp>)
endif()

# clang++ compiles a precompiled header into an object; who includes the header then leaves its
# functions to that object.
target_compile_options(nibble_precompiled PRIVATE -fPIC -fpch-codegen -fpch-debuginfo
                                                  -Wno-unused-command-line-argument)
# (Under a name of its own, or Ninja would begin to compile it after everything else.)
set(header "${CMAKE_CURRENT_BINARY_DIR}/nibble_precompiled.pch")
add_custom_command(
  OUTPUT "${header}"
  COMMAND "${CMAKE_COMMAND}" -E create_symlink CMakeFiles/nibble_precompiled.dir/cmake_pch.hxx.pch
          "${header}"
  DEPENDS "${CMAKE_CURRENT_BINARY_DIR}/CMakeFiles/nibble_precompiled.dir/cmake_pch.hxx.pch")
cmake_policy(SET CMP0119 OLD)  # no -x c++ for a file whose language is told to CMake alone
set_source_files_properties("${header}" PROPERTIES LANGUAGE CXX)
add_library(nibble_precompiled_functions SHARED "${header}")
target_link_libraries(nibble_precompiled_functions PRIVATE nibble::nibble nibble::dispatch nibble_own)
# Optimized in debug builds too: compiled once, and the tests spend their time there.
target_compile_options(nibble_precompiled_functions PRIVATE $<$<CONFIG:Debug>:-O1>
                                                            -Wno-unused-command-line-argument)
target_compile_options(nibble_precompiled_functions INTERFACE -fPIC)
# Every inline function is compiled, those too that nobody calls and that call what nobody defines.
target_link_options(nibble_precompiled_functions INTERFACE -Wl,--allow-shlib-undefined)
