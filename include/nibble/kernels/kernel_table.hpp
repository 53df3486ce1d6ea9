// The kernels of one instruction set as function pointers: how code without ISA flags reaches them.
#pragma once

#include <array>
#include <cstddef>

#include <nibble/format/formats.hpp>
#include <nibble/kernels/activations.hpp>
#include <nibble/kernels/attention.hpp>
#include <nibble/kernels/elementwise.hpp>
#include <nibble/kernels/matmul.hpp>
#include <nibble/kernels/outer_products.hpp>
#include <nibble/kernels/pack_activations.hpp>
#include <nibble/kernels/store_key_value.hpp>

namespace nibble {

/// Every kernel is described where it is defined, under the name of its member. Kernels take up to
/// 128 KB of the stack of the thread that runs them.
struct KernelTable {
  using Matmul = void (*)(const MatmulTask&) noexcept;

  const char* isa = nullptr;
  /// Tokens in a tile of each kind of inputs.
  std::array<Index, activation_kinds> tile_width{};
  /// [position in Formats][Activations]; null where a format does not take such inputs.
  std::array<std::array<Matmul, activation_kinds>, Formats::size> matmul{};
  /// The kind of inputs that suits a format best.
  std::array<Activations, Formats::size> native_activations{};

  void (*pack_activations)(const float* inputs, Index stride, const PackedActivations& packed,
                           Index tile) noexcept = nullptr;
  void (*rms_norm)(const float* input, const float* weight, float epsilon, Index size,
                   float* output) noexcept = nullptr;
  void (*rotate)(float* head, const float* cosines, const float* sines,
                 Index size) noexcept = nullptr;
  void (*silu_multiply)(float* gate, const float* up, Index size) noexcept = nullptr;
  void (*add)(float* sum, const float* addend, Index size) noexcept = nullptr;
  void (*store_key_value)(const float* key, const float* value, const KvPageLayout& layout,
                          std::byte* head, Index slot) noexcept = nullptr;
  void (*attention)(const AttentionTask& task) noexcept = nullptr;

  Index gram_width = 0;
  void (*gram_tile)(const float* x, const float* y, Index tokens, double* sums) noexcept = nullptr;
  void (*add_outer_products)(const double* const* vectors, const double* lanes, Index count,
                             Index size, double* sums) noexcept = nullptr;
};

namespace kernel_table_detail {

template <simd::InstructionSet Isa>
constexpr KernelTable make_kernel_table() {
  KernelTable table;
  table.isa = Isa::name;
  for (std::size_t kind = 0; kind < activation_kinds; ++kind) {
    table.tile_width[kind] = tile_width_of<Isa>(static_cast<Activations>(kind));
  }
  Formats::for_each([&]<class F>(std::type_identity<F>) {
    constexpr std::size_t index = Formats::index_of<F>;
    const auto add = [&]<Activations Kind>(std::integral_constant<Activations, Kind>) {
      if constexpr (takes<Isa, F>(Kind)) {
        table.matmul[index][static_cast<std::size_t>(Kind)] = &matmul<Isa, F, Kind>;
        table.native_activations[index] = Kind;  // the last that it takes
      }
    };
    add(std::integral_constant<Activations, Activations::Float>{});
    add(std::integral_constant<Activations, Activations::BFloat16>{});
    add(std::integral_constant<Activations, Activations::Int8>{});
  });
  table.pack_activations = &pack_activations<Isa>;
  table.rms_norm = &rms_norm<Isa>;
  table.rotate = &rotate<Isa>;
  table.silu_multiply = &silu_multiply<Isa>;
  table.add = &add<Isa>;
  table.store_key_value = &store_key_value<Isa>;
  table.attention = &attention<Isa>;
  table.gram_width = gram_width<Isa>;
  table.gram_tile = &gram_tile<Isa>;
  table.add_outer_products = &add_outer_products<Isa>;
  return table;
}

template <simd::InstructionSet Isa>
inline constexpr KernelTable kernel_table = make_kernel_table<Isa>();

}  // namespace kernel_table_detail

/// The kernels of an instruction set that the compiler's flags allow.
template <simd::InstructionSet Isa = simd::Native>
[[nodiscard]] constexpr const KernelTable& kernels() noexcept {
  return kernel_table_detail::kernel_table<Isa>;
}

}  // namespace nibble
