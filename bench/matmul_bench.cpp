// matmul: every format, kind of activations, number of tokens and shape.
#include <cstddef>
#include <utility>
#include <vector>

#include <nibble/core/random.hpp>
#include <nibble/core/thread_pool.hpp>

#include "bench/kernel_bench.hpp"
#include "common/random_tensors.hpp"

namespace nibble::bench {
namespace {

/// Every format as it is by default, and the options that change a kernel's inner loop.
std::vector<AnyFormat> measured_formats() {
  std::vector<AnyFormat> formats;
  Formats::for_each([&]<class F>(std::type_identity<F>) { formats.push_back(F::make({})); });
  formats.push_back(GroupInt<4>{128, true});
  formats.push_back(GroupInt<4>{32, false});
  formats.push_back(GroupInt<3>{128, true});
  return formats;
}

void run(benchmark::State& state, const KernelTable& table, const AnyFormat& format,
         Activations kind, Index rows, Index cols, Index tokens) {
  ThreadPool pool(1);
  const AnyMatrix weights = example::random_matrix(format, rows, cols, 1, pool);
  Matrix inputs(tokens, cols);
  Random random(2);
  for (Index i = 0; i < inputs.size(); ++i) {
    inputs.data()[i] = static_cast<float>(2 * random.uniform() - 1);
  }
  ActivationBuffer buffer;
  const PackedActivations packed =
      buffer.prepare(kind, tokens, cols, table.tile_width[static_cast<std::size_t>(kind)]);
  for (Index tile = 0; tile < packed.tiles(); ++tile) {
    table.pack_activations(inputs.data(), cols, packed, tile);
  }
  Matrix output(tokens, rows);
  const auto matmul = table.matmul[weights.format_index()][static_cast<std::size_t>(kind)];
  const PanelView& view = weights.view();
  for (auto _ : state) {
    matmul({view, packed, output.data(), rows, 0, view.panels(), 0, packed.tiles()});
    benchmark::DoNotOptimize(output.data());
    benchmark::ClobberMemory();
  }
  report_rates(
      state, {static_cast<double>(weights.bytes().size()),
              static_cast<double>(rows) * static_cast<double>(cols) * static_cast<double>(tokens)});
}

}  // namespace

void add_matmul_benchmarks() {
  constexpr std::pair<Index, Index> shapes[] = {{2048, 2048}, {5632, 2048}};
  for (const KernelTable* table : kernel_tables()) {
    for (const AnyFormat& format : measured_formats()) {
      for (std::size_t k = 0; k < activation_kinds; ++k) {
        if (table->matmul[format.index()][k] == nullptr) continue;
        const auto kind = static_cast<Activations>(k);
        for (const auto& [rows, cols] : shapes) {
          for (const Index tokens : {1, 4, 16, 512}) {
            const auto body = [=, rows = rows, cols = cols](benchmark::State& state) {
              run(state, *table, format, kind, rows, cols, tokens);
            };
            add_benchmark("matmul", *table,
                          concat(describe_format(format), "/", activations_name(kind), "/", rows,
                                 "x", cols, "/tokens:", tokens),
                          body);
          }
        }
      }
    }
  }
}

}  // namespace nibble::bench
