// attention: one token after 2,000 others, and a prompt, with the heads of TinyLlama.
#include <algorithm>
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include <nibble/core/random.hpp>
#include <nibble/nn/attention_layer.hpp>

#include "bench/kernel_bench.hpp"

namespace nibble::bench {
namespace {

constexpr Index block_tokens = 16;  // of a prompt, taken in together
constexpr AttentionShape shape{.heads = 32, .kv_heads = 4, .head_dim = 64, .window = 0};

/// A cache of random keys and values, and the queries of its last tokens.
class AttentionBench {
 public:
  AttentionBench(const KernelTable& table, KvType type, Index before, Index tokens)
      : table_(&table), before_(before), tokens_(tokens) {
    const KvPageLayout layout{type, 1, shape.kv_heads, shape.head_dim};
    const auto pages = static_cast<std::size_t>(divide_up(before + tokens, page_positions));
    cache_.emplace(std::make_shared<KvPool>(layout, pages * layout.page_bytes()));
    cache_->reserve(before + tokens);
    fill_cache();
  }

  void run(benchmark::State& state) {
    const KvPageLayout& layout = cache_->layout();
    const Index group = shape.heads / shape.kv_heads;
    for (auto _ : state) {
      for (Index head = 0; head < shape.kv_heads; ++head) {
        for (Index token = 0; token < tokens_; token += block_tokens) {
          const Index offset = (token * shape.heads + head * group) * shape.head_dim;
          table_->attention({.queries = queries_.data() + offset,
                             .tokens = std::min(block_tokens, tokens_ - token),
                             .query_heads = group,
                             .stride = shape.heads * shape.head_dim,
                             .pages = cache_->pages(),
                             .layout = layout,
                             .head_offset = layout.head_offset(0, head),
                             .position = before_ + token,
                             .scale = 0.125F,
                             .output = output_.data() + offset,
                             .scratch = scratch_.as<float>()});
        }
      }
      benchmark::ClobberMemory();
    }
    // Positions that the tokens see, all together.
    const auto seen = static_cast<double>(tokens_) *
                      (static_cast<double>(before_) + static_cast<double>(tokens_ + 1) / 2);
    const auto elements = static_cast<double>(2 * shape.kv_heads * shape.head_dim);
    report_rates(state, {seen * elements * static_cast<double>(layout.element_bytes()),
                         seen * elements * static_cast<double>(group)});
  }

 private:
  void fill_cache() {
    Random random(1);
    const auto number = [&] { return static_cast<float>(2 * random.uniform() - 1); };
    const KvPageLayout& layout = cache_->layout();
    std::vector<float> key(static_cast<std::size_t>(shape.head_dim));
    std::vector<float> value(key.size());
    for (Index position = 0; position < before_ + tokens_; ++position) {
      for (Index head = 0; head < shape.kv_heads; ++head) {
        std::ranges::generate(key, number);
        std::ranges::generate(value, number);
        table_->store_key_value(key.data(), value.data(), layout,
                                cache_->page_of(position) + layout.head_offset(0, head),
                                position % page_positions);
      }
    }
    queries_.resize(static_cast<std::size_t>(tokens_ * shape.heads * shape.head_dim));
    std::ranges::generate(queries_, number);
    output_.resize(queries_.size());
    const Index rows = block_tokens * shape.heads / shape.kv_heads;
    static_cast<void>(scratch_.make_room<float>(attention_scratch_size(layout, rows)));
  }

  const KernelTable* table_;
  Index before_, tokens_;
  std::optional<KvCache> cache_;
  std::vector<float> queries_, output_;  // [tokens][heads][head_dim]
  AlignedBuffer scratch_;
};

}  // namespace

void add_attention_benchmarks() {
  for (const KernelTable* table : kernel_tables()) {
    for (const KvType type : {KvType::Float16, KvType::BFloat16, KvType::Float32}) {
      const auto add = [&](const char* what, Index before, Index tokens) {
        add_benchmark("attention", *table, concat(kv_type_name(type), "/", what),
                      [=](benchmark::State& state) {
                        AttentionBench(*table, type, before, tokens).run(state);
                      });
      };
      add("decode at 2000", 2000, 1);
      add("prompt of 512", 0, 512);
    }
  }
}

}  // namespace nibble::bench
