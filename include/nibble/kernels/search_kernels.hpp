// The kernels of search as function pointers, in a table apart from the models': they depend on
// another instruction, the count of bits, which CPUs have or lack independently.
#pragma once

#include <cstdint>

#include <nibble/kernels/code_scores.hpp>
#include <nibble/kernels/dot.hpp>
#include <nibble/kernels/dot_products.hpp>
#include <nibble/kernels/hamming.hpp>

namespace nibble {

/// Every kernel is described where it is defined, under the name of its member.
struct SearchKernels {
  const char* isa = nullptr;
  void (*hamming_distances)(const HammingTask& task) noexcept = nullptr;
  bool (*score_codes)(const CodeScoreTask& task) noexcept = nullptr;
  float (*dot)(const float* a, const float* b, Index size) noexcept = nullptr;
  float (*dot_int8)(const float* vector, const std::int8_t* code, Index size) noexcept = nullptr;
  void (*dot_products)(const DotProductTask& task) noexcept = nullptr;
};

namespace search_kernels_detail {

template <simd::InstructionSet Isa>
inline constexpr SearchKernels table{
    Isa::name,         &hamming_distances<Isa>, &score_codes<Isa>,
    &nibble::dot<Isa>, &nibble::dot_int8<Isa>,  &nibble::dot_products<Isa>};

}  // namespace search_kernels_detail

/// The search kernels of an instruction set that the compiler's flags allow.
template <simd::InstructionSet Isa = simd::NativeSearch>
[[nodiscard]] constexpr const SearchKernels& search_kernels() noexcept {
  return search_kernels_detail::table<Isa>;
}

}  // namespace nibble
