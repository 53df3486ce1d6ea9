// rms_norm, rotate, silu_multiply and add, at the sizes of TinyLlama.
#include <algorithm>
#include <vector>

#include <nibble/core/random.hpp>

#include "bench/kernel_bench.hpp"

namespace nibble::bench {
namespace {

std::vector<float> random_floats(Index size, std::uint64_t seed) {
  std::vector<float> values(static_cast<std::size_t>(size));
  Random random(seed);
  std::ranges::generate(values, [&] { return static_cast<float>(2 * random.uniform() - 1); });
  return values;
}

double bytes_of(Index floats) {
  return static_cast<double>(floats) * sizeof(float);
}

void run_rms_norm(benchmark::State& state, const KernelTable& table, Index size) {
  const auto input = random_floats(size, 1), weight = random_floats(size, 2);
  std::vector<float> output(input.size());
  for (auto _ : state) {
    table.rms_norm(input.data(), weight.data(), 1e-5F, size, output.data());
    benchmark::ClobberMemory();
  }
  report_rates(state, {.bytes = bytes_of(2 * size)});
}

void run_rotate(benchmark::State& state, const KernelTable& table, Index size) {
  auto head = random_floats(size, 1);
  const std::vector<float> cosines(head.size() / 2, 0.8F), sines(head.size() / 2, 0.6F);
  for (auto _ : state) {
    table.rotate(head.data(), cosines.data(), sines.data(), size);
    benchmark::ClobberMemory();
  }
  report_rates(state, {.bytes = bytes_of(2 * size)});
}

void run_silu_multiply(benchmark::State& state, const KernelTable& table, Index size) {
  const auto start = random_floats(size, 1);
  const std::vector<float> up(start.size(), 1.0F);
  auto gate = start;
  for (auto _ : state) {
    gate = start;  // or it would shrink to subnormal numbers
    table.silu_multiply(gate.data(), up.data(), size);
    benchmark::ClobberMemory();
  }
  report_rates(state, {.bytes = bytes_of(2 * size)});
}

void run_add(benchmark::State& state, const KernelTable& table, Index size) {
  auto sum = random_floats(size, 1);
  const auto addend = random_floats(size, 2);
  for (auto _ : state) {
    table.add(sum.data(), addend.data(), size);
    benchmark::ClobberMemory();
  }
  report_rates(state, {.bytes = bytes_of(2 * size)});
}

}  // namespace

void add_elementwise_benchmarks() {
  for (const KernelTable* table : kernel_tables()) {
    const auto add = [&](const char* kernel, auto run, Index size) {
      add_benchmark(kernel, *table, concat(size),
                    [=](benchmark::State& state) { run(state, *table, size); });
    };
    add("rms_norm", run_rms_norm, 2048);
    add("rotate", run_rotate, 64);
    add("silu_multiply", run_silu_multiply, 5632);
    add("add", run_add, 2048);
  }
}

}  // namespace nibble::bench
