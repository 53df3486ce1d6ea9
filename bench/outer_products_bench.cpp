// gram_tile and add_outer_products, at the sizes of a calibration.
#include <algorithm>
#include <vector>

#include <nibble/core/random.hpp>

#include "bench/kernel_bench.hpp"

namespace nibble::bench {
namespace {

template <class T>
std::vector<T> random_numbers(Index size, std::uint64_t seed) {
  std::vector<T> values(static_cast<std::size_t>(size));
  Random random(seed);
  std::ranges::generate(values, [&] { return static_cast<T>(2 * random.uniform() - 1); });
  return values;
}

void run_gram_tile(benchmark::State& state, const KernelTable& table, Index tokens) {
  const auto x = random_numbers<float>(tokens * panel_rows, 1);
  const auto y = random_numbers<float>(tokens * table.gram_width, 2);
  std::vector<double> sums(static_cast<std::size_t>(table.gram_width * panel_rows));
  for (auto _ : state) {
    table.gram_tile(x.data(), y.data(), tokens, sums.data());
    benchmark::ClobberMemory();
  }
  report_rates(state, {.macs = static_cast<double>(tokens * panel_rows * table.gram_width)});
}

void run_add_outer_products(benchmark::State& state, const KernelTable& table, Index count,
                            Index size) {
  const auto matrix = random_numbers<double>(count * size, 1);
  const auto lanes = random_numbers<double>(count * panel_rows, 2);
  std::vector<const double*> vectors;
  for (Index k = 0; k < count; ++k) vectors.push_back(matrix.data() + k * size);
  std::vector<double> sums(static_cast<std::size_t>(size * panel_rows));
  for (auto _ : state) {
    table.add_outer_products(vectors.data(), lanes.data(), count, size, sums.data());
    benchmark::ClobberMemory();
  }
  report_rates(state, {.macs = static_cast<double>(count * size * panel_rows)});
}

}  // namespace

void add_outer_products_benchmarks() {
  for (const KernelTable* table : kernel_tables()) {
    constexpr Index tokens = 1024;
    add_benchmark("gram_tile", *table, concat(tokens),
                  [=](benchmark::State& state) { run_gram_tile(state, *table, tokens); });
    for (const Index count : {1, 32, 64}) {
      constexpr Index size = 2048;
      add_benchmark(
          "add_outer_products", *table, concat(count, " x ", size),
          [=](benchmark::State& state) { run_add_outer_products(state, *table, count, size); });
    }
  }
}

}  // namespace nibble::bench
