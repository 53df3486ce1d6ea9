# cmake -D NM=nm -D TAG=Avx2 -D OBJECT=isa_table.cpp.o -P check_symbols.cmake
#
# The linker keeps one of several weak (W, V) or unique (u) definitions of a name, and might keep the
# one that was compiled with flags that the CPU lacks. So each in an object of nibble::dispatch must
# have the tag of its instruction set in its name, or that of xsimd's vectors for it: then no object
# defines it that has other vectors. What compilers add is exempt: pointers to the C++ runtime, type
# names, and clang++'s two calls that end a program; so are xsimd's casts of NEON vectors, which do
# nothing.
set(vectors "(sse2|neon64)")
if(TAG MATCHES "^(Avx512|Amx)")
  set(vectors "avx512bw")
elseif(TAG MATCHES "^Avx")
  set(vectors "fma3<xsimd::avx2>")
endif()

execute_process(
  COMMAND "${NM}" --demangle "${OBJECT}"
  OUTPUT_VARIABLE symbols
  COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE ";" "," symbols "${symbols}")
string(REGEX REPLACE "[][]" "" symbols "${symbols}")  # brackets would join the lines of a list
string(REPLACE "\n" ";" symbols "${symbols}")

set(tagged 0)
set(untagged)
foreach(symbol IN LISTS symbols)
  if(NOT symbol MATCHES "^[0-9a-f]+ [WVu] ")
    continue()
  endif()
  if(symbol MATCHES "nibble::simd::${TAG}[^A-Za-z0-9_]|xsimd::${vectors}[^A-Za-z0-9_]")
    math(EXPR tagged "${tagged} + 1")
  elseif(NOT symbol MATCHES " (DW\\.ref\\.|typeinfo |__clang_call_terminate$|xsimd::kernel::wrap::vreinterpretq_)")
    string(APPEND untagged "  ${symbol}\n")
  endif()
endforeach()

if(untagged)
  message(FATAL_ERROR "${OBJECT}: without the tag ${TAG} in their names:\n${untagged}")
endif()
if(tagged EQUAL 0)
  message(FATAL_ERROR "${OBJECT}: no kernel of simd::${TAG} found")
endif()
message(STATUS "${tagged} symbols, all of ${TAG}")
