// pack_activations: every kind and number of tokens.
#include <cstddef>

#include <nibble/core/matrix.hpp>
#include <nibble/core/random.hpp>

#include "bench/kernel_bench.hpp"

namespace nibble::bench {
namespace {

void run(benchmark::State& state, const KernelTable& table, Activations kind, Index tokens,
         Index cols) {
  Matrix inputs(tokens, cols);
  Random random(1);
  for (Index i = 0; i < inputs.size(); ++i) {
    inputs.data()[i] = static_cast<float>(2 * random.uniform() - 1);
  }
  ActivationBuffer buffer;
  const PackedActivations packed =
      buffer.prepare(kind, tokens, cols, table.tile_width[static_cast<std::size_t>(kind)]);
  for (auto _ : state) {
    for (Index tile = 0; tile < packed.tiles(); ++tile) {
      table.pack_activations(inputs.data(), cols, packed, tile);
    }
    benchmark::ClobberMemory();
  }
  report_rates(state, {.bytes = static_cast<double>(inputs.size()) * sizeof(float)});
}

}  // namespace

void add_pack_activations_benchmarks() {
  constexpr Index cols = 2048;
  for (const KernelTable* table : kernel_tables()) {
    for (std::size_t k = 0; k < activation_kinds; ++k) {
      const auto kind = static_cast<Activations>(k);
      for (const Index tokens : {1, 4, 16, 512}) {
        add_benchmark("pack_activations", *table,
                      concat(activations_name(kind), "/", cols, "/tokens:", tokens),
                      [=](benchmark::State& state) { run(state, *table, kind, tokens, cols); });
      }
    }
  }
}

}  // namespace nibble::bench
