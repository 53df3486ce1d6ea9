# nibble::dispatch: a compiled library with the kernels of several instruction sets, of which the
# program takes the best that the CPU runs.
include(CheckCXXCompilerFlag)

set(NIBBLE_DISPATCH_ISAS "" CACHE STRING
    "Instruction sets of nibble::dispatch beside generic, as NIBBLE_ISA spells them; empty: all")

set(nibble_dispatch_dir "${PROJECT_SOURCE_DIR}/include/nibble/dispatch")
set(nibble_dispatch_generated "${PROJECT_BINARY_DIR}/dispatch")

add_library(nibble_dispatch STATIC "${nibble_dispatch_dir}/dispatch.cpp"
                                   "${nibble_dispatch_dir}/cpu_features.cpp")
add_library(nibble::dispatch ALIAS nibble_dispatch)
set_target_properties(nibble_dispatch PROPERTIES EXPORT_NAME dispatch
                                                 POSITION_INDEPENDENT_CODE ON)
target_link_libraries(nibble_dispatch PUBLIC nibble::core)
target_include_directories(nibble_dispatch PRIVATE "${nibble_dispatch_generated}")
nibble_add_headers(nibble_dispatch dispatch/)

# Each object starts from the family's first CPU, whatever flags the project has otherwise: -march
# alone leaves an earlier -mavx2 or -mbmi2 as it is. SSE3 takes everything built on it along.
set(nibble_baseline)
if(CMAKE_SIZEOF_VOID_P EQUAL 8 AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(nibble_baseline -march=x86-64 -mno-sse3 -mno-bmi -mno-bmi2 -mno-lzcnt -mno-movbe)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(nibble_baseline -march=armv8-a+nodotprod)
endif()

# nibble_dispatch_object(<object> <source> <tag> <condition> [<feature>...]) compiles a file of
# dispatch/ for simd::<tag>, for CPUs with these features, spelled as in the compiler's -m<feature>, on
# aarch64 +<feature>, and sets <condition> to the question whether a CPU is one. An instruction set
# that the compiler does not know is left out, and <condition> empty.
function(nibble_dispatch_object object source tag condition)
  set(${condition} "" PARENT_SCOPE)
  set(flags ${nibble_baseline})
  if(ARGN)
    # The first that takes extensions.
    list(TRANSFORM flags REPLACE "armv8-a\\+nodotprod$" "armv8.2-a")
  endif()
  foreach(feature IN LISTS ARGN)
    if(nibble_baseline MATCHES "armv8")
      string(APPEND flags "+${feature}")
    else()
      list(APPEND flags -m${feature})
    endif()
  endforeach()
  if(flags)
    list(JOIN flags " " flags_text)
    check_cxx_compiler_flag("${flags_text}" NIBBLE_COMPILES_${tag})
    if(NOT NIBBLE_COMPILES_${tag})
      if(ARGN)
        message(STATUS "nibble::dispatch: no ${tag}, which this compiler does not know")
        return()
      endif()
      set(flags)
    endif()
  endif()

  add_library(${object} OBJECT "${nibble_dispatch_dir}/${source}")
  set_target_properties(${object} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(${object} PRIVATE nibble::core)
  target_compile_definitions(
    ${object} PRIVATE NIBBLE_DISPATCH_ISA=${tag} NIBBLE_DISPATCH_TABLE=table_of_${object})
  # Sums are the same whether or not the compiler would have fused a product into them. Optimized
  # in every configuration: a program under a debugger still waits for its kernels.
  target_compile_options(
    ${object} PRIVATE ${flags} $<$<CXX_COMPILER_ID:GNU,Clang,AppleClang>:-ffp-contract=off>
                      $<$<NOT:$<OR:$<CONFIG:Release>,$<CXX_COMPILER_ID:MSVC>>>:-O2>)
  target_sources(nibble_dispatch PRIVATE $<TARGET_OBJECTS:${object}>)
  set_property(TARGET nibble_dispatch APPEND PROPERTY NIBBLE_OBJECTS ${object})

  list(TRANSFORM ARGN REPLACE ".+" "cpu_has(\"\\0\")" OUTPUT_VARIABLE questions)
  list(JOIN questions " && " questions)
  if(NOT questions)
    set(questions true)
  endif()
  set(${condition} "${questions}" PARENT_SCOPE)
endfunction()

# nibble_dispatch_isa(<tag> [<feature>...]) adds the kernels of simd::<tag>, if they are wanted.
function(nibble_dispatch_isa tag)
  string(TOLOWER ${tag} isa)
  set_property(TARGET nibble_dispatch APPEND PROPERTY NIBBLE_ISA_ORDER ${tag})
  if(ARGN AND NIBBLE_DISPATCH_ISAS AND NOT isa IN_LIST NIBBLE_DISPATCH_ISAS)
    return()
  endif()
  nibble_dispatch_object(nibble_dispatch_${tag} isa_table.cpp ${tag} condition ${ARGN})
  if(condition)
    set_property(
      TARGET nibble_dispatch APPEND_STRING PROPERTY NIBBLE_ISA_LINES
                                                    "NIBBLE_DISPATCH_ISA(${tag}, ${condition})\n")
    set_property(TARGET nibble_dispatch APPEND PROPERTY NIBBLE_ISA_TAGS ${tag})
  endif()
endfunction()

# nibble_dispatch_search(<tag> <base> [<feature>...]) adds the search kernels of simd::<tag>, which
# go with the kernels of simd::<base> and those after it, as far as they are there.
function(nibble_dispatch_search tag base)
  get_target_property(order nibble_dispatch NIBBLE_ISA_ORDER)
  get_target_property(tags nibble_dispatch NIBBLE_ISA_TAGS)
  list(FIND order ${base} first)
  list(SUBLIST order ${first} -1 bases)
  list(JOIN bases "|" bases)
  list(FILTER tags INCLUDE REGEX "^(${bases})$")
  if(NOT tags)
    return()
  endif()
  list(GET tags 0 base)
  nibble_dispatch_object(nibble_dispatch_search_${tag} search_table.cpp ${tag} condition ${ARGN})
  if(condition)
    set_property(
      TARGET nibble_dispatch
      APPEND_STRING PROPERTY NIBBLE_SEARCH_LINES
                             "NIBBLE_DISPATCH_SEARCH(${tag}, ${base}, ${condition})\n")
    set_property(TARGET nibble_dispatch APPEND PROPERTY NIBBLE_SEARCH_TAGS ${tag})
  endif()
endfunction()

# In ascending order: the last that the CPU runs is the best.
nibble_dispatch_isa(Generic)
if(nibble_baseline MATCHES "x86-64")
  nibble_dispatch_isa(Avx2 avx2 fma f16c)
  nibble_dispatch_isa(AvxVnni avx2 fma f16c avxvnni)
  set(avx512vnni avx2 fma f16c avx512f avx512cd avx512dq avx512bw avx512vl avx512vnni)
  nibble_dispatch_isa(Avx512Vnni ${avx512vnni})
  nibble_dispatch_isa(Avx512Bf16 ${avx512vnni} avx512bf16)
  nibble_dispatch_isa(Amx ${avx512vnni} avx512bf16 amx-tile amx-int8 amx-bf16)
elseif(nibble_baseline MATCHES "armv8")
  nibble_dispatch_isa(NeonDotprod dotprod)
endif()

get_target_property(nibble_isa_tags nibble_dispatch NIBBLE_ISA_TAGS)
foreach(isa IN LISTS NIBBLE_DISPATCH_ISAS)
  string(TOLOWER "${nibble_isa_tags}" isas)
  if(NOT isa IN_LIST isas)
    message(WARNING "NIBBLE_DISPATCH_ISAS: no kernels for '${isa}' here, only for: ${isas}")
  endif()
endforeach()

nibble_dispatch_search(Generic Generic)
if(nibble_baseline MATCHES "x86-64")
  nibble_dispatch_search(Avx2 Avx2 avx2 fma f16c)
  nibble_dispatch_search(Avx512Vpopcntdq Avx512Vnni ${avx512vnni} avx512vpopcntdq)
endif()

# In another project, only what links it has it built.
if(NOT PROJECT_IS_TOP_LEVEL AND NOT NIBBLE_INSTALL)
  get_target_property(nibble_dispatch_objects nibble_dispatch NIBBLE_OBJECTS)
  set_target_properties(nibble_dispatch ${nibble_dispatch_objects} PROPERTIES EXCLUDE_FROM_ALL ON)
endif()

get_target_property(nibble_isa_lines nibble_dispatch NIBBLE_ISA_LINES)
file(CONFIGURE OUTPUT "${nibble_dispatch_generated}/isas.inc" CONTENT "${nibble_isa_lines}" @ONLY)
get_target_property(nibble_search_lines nibble_dispatch NIBBLE_SEARCH_LINES)
file(CONFIGURE OUTPUT "${nibble_dispatch_generated}/search_isas.inc" CONTENT
     "${nibble_search_lines}" @ONLY)
