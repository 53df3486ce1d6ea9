// nibble-kernel-bench: every kernel, for every format and instruction set, on one thread.
#include "bench/kernel_bench.hpp"

int main(int argc, char** argv) {
  nibble::bench::add_matmul_benchmarks();
  nibble::bench::add_pack_activations_benchmarks();
  nibble::bench::add_attention_benchmarks();
  nibble::bench::add_store_key_value_benchmarks();
  nibble::bench::add_elementwise_benchmarks();
  nibble::bench::add_outer_products_benchmarks();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
