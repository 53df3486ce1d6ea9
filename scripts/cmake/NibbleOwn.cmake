# How nibble compiles its own programs, tests and header checks; none of it reaches a user.

add_library(nibble_warnings INTERFACE)
target_compile_options(
  nibble_warnings
  INTERFACE
    $<$<CXX_COMPILER_ID:GNU,Clang,AppleClang>:-Wall;-Wextra;-Wpedantic;-Wconversion;-Wshadow>
    # g++ warns out of its own AVX-512 intrinsics; clang++ keeps the watch.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized;-Wno-uninitialized>
    $<$<CXX_COMPILER_ID:MSVC>:/W4>)
if(NIBBLE_WERROR)
  target_compile_options(
    nibble_warnings INTERFACE $<IF:$<CXX_COMPILER_ID:MSVC>,/WX,-Werror>)
endif()

add_library(nibble_sanitizers INTERFACE)
if(NIBBLE_SANITIZE)
  target_compile_options(
    nibble_sanitizers INTERFACE -fsanitize=${NIBBLE_SANITIZE} -fno-sanitize-recover=all
                                -fno-omit-frame-pointer)
  target_link_options(nibble_sanitizers INTERFACE -fsanitize=${NIBBLE_SANITIZE})
endif()

add_library(nibble_own INTERFACE)
target_link_libraries(
  nibble_own INTERFACE nibble_warnings nibble_sanitizers $<$<BOOL:${NIBBLE_NATIVE}>:nibble_native>)
target_compile_options(
  nibble_own
  INTERFACE
    # Sums are the same whether or not the compiler would have fused a product into them.
    $<$<CXX_COMPILER_ID:GNU,Clang,AppleClang>:-ffp-contract=off>)
# xsimd's AVX-512 code does not compile with g++ -O0.
set(nibble_native_debug $<$<AND:$<CONFIG:Debug>,$<CXX_COMPILER_ID:GNU,Clang,AppleClang>>:-Og>)
if(NIBBLE_NATIVE)
  target_compile_options(nibble_own INTERFACE ${nibble_native_debug})
endif()

# nibble::dispatch has flags of its own, never those of NIBBLE_NATIVE.
if(PROJECT_IS_TOP_LEVEL)
  get_target_property(objects nibble_dispatch NIBBLE_OBJECTS)
  foreach(target IN ITEMS nibble_dispatch ${objects})
    target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:nibble_warnings>
                                            $<BUILD_INTERFACE:nibble_sanitizers>)
  endforeach()
endif()

# For what tests or checks the templates of every instruction set that this machine has.
add_library(nibble_own_native INTERFACE)
target_link_libraries(nibble_own_native INTERFACE nibble_own)
target_compile_options(nibble_own_native INTERFACE ${nibble_native_debug})
if(NOT CMAKE_CROSSCOMPILING)
  target_link_libraries(nibble_own_native INTERFACE nibble_native)
endif()

# all_verify_interface_header_sets compiles each header by itself, in targets that CMake makes up
# and that can be reached by their name only.
if(PROJECT_IS_TOP_LEVEL)
  foreach(library IN ITEMS nibble_core nibble_io nibble_text nibble_search nibble nibble_dispatch)
    set(check ${library}_verify_interface_header_sets)
    target_link_libraries(
      ${library}
      INTERFACE
        $<BUILD_INTERFACE:$<$<STREQUAL:$<TARGET_PROPERTY:NAME>,${check}>:nibble_own_native>>)
  endforeach()
endif()
