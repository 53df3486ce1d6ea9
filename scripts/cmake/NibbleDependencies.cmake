# What nibble builds on: the installed package where there is one, else a pinned release.
# Installed nibble looks for the same packages with the same Find modules (nibbleConfig.cmake.in).
include(FetchContent)

list(PREPEND CMAKE_MODULE_PATH "${CMAKE_CURRENT_LIST_DIR}")

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

# No version here: Eigen's version file accepts its own major version only.
FetchContent_Declare(
  Eigen3
  GIT_REPOSITORY https://gitlab.com/libeigen/eigen.git
  GIT_TAG 3.4.0
  GIT_SHALLOW ON
  SYSTEM
  FIND_PACKAGE_ARGS NO_MODULE QUIET)
FetchContent_Declare(
  xsimd
  GIT_REPOSITORY https://github.com/xtensor-stack/xsimd.git
  GIT_TAG 13.0.0
  GIT_SHALLOW ON
  SYSTEM
  FIND_PACKAGE_ARGS 8.1 MODULE QUIET)
FetchContent_Declare(
  nlohmann_json
  GIT_REPOSITORY https://github.com/nlohmann/json.git
  GIT_TAG v3.11.3
  GIT_SHALLOW ON
  SYSTEM
  FIND_PACKAGE_ARGS 3.10 QUIET)
FetchContent_Declare(
  PCRE2
  GIT_REPOSITORY https://github.com/PCRE2Project/pcre2.git
  GIT_TAG pcre2-10.44
  GIT_SHALLOW ON
  SYSTEM
  FIND_PACKAGE_ARGS 10.36 MODULE QUIET)
FetchContent_Declare(
  utf8proc
  GIT_REPOSITORY https://github.com/JuliaStrings/utf8proc.git
  GIT_TAG v2.11.3
  GIT_SHALLOW ON
  SYSTEM
  FIND_PACKAGE_ARGS MODULE QUIET)
FetchContent_Declare(
  CLI11
  GIT_REPOSITORY https://github.com/CLIUtils/CLI11.git
  GIT_TAG v2.4.2
  GIT_SHALLOW ON
  SYSTEM
  FIND_PACKAGE_ARGS 2.1 QUIET)
FetchContent_Declare(
  benchmark
  GIT_REPOSITORY https://github.com/google/benchmark.git
  GIT_TAG v1.7.1
  GIT_SHALLOW ON
  SYSTEM
  FIND_PACKAGE_ARGS 1.7 QUIET)
FetchContent_Declare(
  Catch2
  GIT_REPOSITORY https://github.com/catchorg/Catch2.git
  GIT_TAG v3.5.4
  GIT_SHALLOW ON
  SYSTEM
  FIND_PACKAGE_ARGS 2.13 QUIET)

# The dependencies' own options stay inside this block.
block(PROPAGATE CMAKE_MODULE_PATH Catch2_SOURCE_DIR)
  set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)
  set(CMAKE_POLICY_DEFAULT_CMP0126 NEW)
  set(BUILD_SHARED_LIBS OFF)
  set(BENCHMARK_ENABLE_INSTALL OFF)
  set(BENCHMARK_ENABLE_TESTING OFF)
  set(BUILD_TESTING OFF)
  set(EIGEN_BUILD_DOC OFF)
  set(EIGEN_BUILD_PKGCONFIG OFF)
  set(PCRE2_BUILD_PCRE2GREP OFF)
  set(PCRE2_BUILD_TESTS OFF)
  set(PCRE2_SUPPORT_JIT ON)
  set(UTF8PROC_INSTALL OFF)
  set(XSIMD_SKIP_INSTALL ON)
  FetchContent_MakeAvailable(Eigen3 xsimd nlohmann_json PCRE2 utf8proc)
  if(NIBBLE_BUILD_EXAMPLES)
    FetchContent_MakeAvailable(CLI11)
  endif()
  if(NIBBLE_BUILD_BENCHMARKS)
    FetchContent_MakeAvailable(benchmark)
  endif()
  if(NIBBLE_BUILD_TESTS)
    FetchContent_MakeAvailable(Catch2)
  endif()
endblock()

# The names that the Find modules give.
if(NOT TARGET xsimd::xsimd)
  add_library(xsimd::xsimd ALIAS xsimd)
endif()
if(NOT TARGET PCRE2::8BIT)
  add_library(PCRE2::8BIT ALIAS pcre2-8-static)
endif()
if(NOT TARGET utf8proc::utf8proc)
  add_library(utf8proc::utf8proc ALIAS utf8proc)
endif()
