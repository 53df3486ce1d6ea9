# cmake -D NM=nm -D TAG=Avx2 -D OBJECT=isa_table.cpp.o -P check_symbols.cmake
#
# The linker keeps one of several weak (W, V) or unique (u) definitions of a name, and might keep the
# one that was compiled with flags that the CPU lacks. So each in an object of nibble::dispatch must
# have the tag of its instruction set in its name: then no other object defines it.
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
  if(symbol MATCHES "nibble::simd::${TAG}[^A-Za-z0-9_]")
    math(EXPR tagged "${tagged} + 1")
  elseif(NOT symbol MATCHES " DW\\.ref\\.")  # a pointer to the C++ runtime
    string(APPEND untagged "  ${symbol}\n")
  endif()
endforeach()

if(untagged)
  message(FATAL_ERROR "${OBJECT}: without simd::${TAG} in their names:\n${untagged}")
endif()
if(tagged EQUAL 0)
  message(FATAL_ERROR "${OBJECT}: no kernel of simd::${TAG} found")
endif()
message(STATUS "${tagged} symbols, all with simd::${TAG} in their names")
