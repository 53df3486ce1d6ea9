// What the suites share: the tables of kernels to measure, names, and rates as counters.
#pragma once

#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include <nibble/core/error.hpp>
#include <nibble/dispatch/dispatch.hpp>

namespace nibble::bench {

/// The kernels of every instruction set that this machine runs, the best one last.
[[nodiscard]] inline std::vector<const KernelTable*> kernel_tables() {
  const auto tables = dispatch::available();
  return {tables.begin(), tables.end()};
}

/// Rates that are reported beside the time of an iteration; 0: left out.
struct Work {
  double bytes = 0;  // of memory that an iteration reads, or of the weights where it multiplies
  double macs = 0;   // multiply-accumulates
};

inline void report_rates(benchmark::State& state, const Work& work) {
  using benchmark::Counter;
  const auto rate = [](double amount) {
    return Counter(amount, Counter::kIsIterationInvariantRate);
  };
  if (work.bytes > 0) state.counters["bytes/s"] = rate(work.bytes);
  if (work.macs > 0) state.counters["MAC/s"] = rate(work.macs);
}

/// Registers run(state) as "kernel/instruction set/details".
template <class Run>
void add_benchmark(const char* kernel, const KernelTable& table, const std::string& details,
                   Run run) {
  benchmark::RegisterBenchmark(concat(kernel, "/", table.isa, "/", details).c_str(), run);
}

// The suites; each is in the file of its name.
void add_matmul_benchmarks();
void add_pack_activations_benchmarks();
void add_attention_benchmarks();
void add_store_key_value_benchmarks();
void add_elementwise_benchmarks();
void add_outer_products_benchmarks();

}  // namespace nibble::bench
