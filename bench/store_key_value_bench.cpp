// store_key_value: the keys and values of 64 tokens into a page, with a head of TinyLlama.
#include <algorithm>
#include <vector>

#include <nibble/core/random.hpp>

#include "bench/kernel_bench.hpp"

namespace nibble::bench {
namespace {

void run_store_key_value(benchmark::State& state, const KernelTable& table, KvType type) {
  const KvPageLayout layout{type, 1, 1, 64};
  AlignedBuffer page(layout.page_bytes());
  std::vector<float> key(static_cast<std::size_t>(layout.head_dim));
  std::vector<float> value(key.size());
  Random random(1);
  const auto number = [&] { return static_cast<float>(2 * random.uniform() - 1); };
  std::ranges::generate(key, number);
  std::ranges::generate(value, number);
  for (auto _ : state) {
    for (Index slot = 0; slot < page_positions; ++slot) {
      table.store_key_value(key.data(), value.data(), layout, page.data(), slot);
    }
    benchmark::ClobberMemory();
  }
  const auto floats = static_cast<double>(2 * layout.head_dim * page_positions);
  report_rates(state, {.bytes = floats * sizeof(float)});
}

}  // namespace

void add_store_key_value_benchmarks() {
  for (const KernelTable* table : kernel_tables()) {
    for (const KvType type : {KvType::Float16, KvType::BFloat16, KvType::Float32}) {
      add_benchmark("store_key_value", *table, std::string(kv_type_name(type)),
                    [=](benchmark::State& state) { run_store_key_value(state, *table, type); });
    }
  }
}

}  // namespace nibble::bench
