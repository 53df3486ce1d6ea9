#include "nibble/kernels/attention.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "kernels/kernel_tables.hpp"
#include "support/catch.hpp"
#include "support/isas.hpp"
#include "support/random.hpp"

using namespace nibble;
using test::float_epsilon;

namespace {

constexpr KvType kv_types[] = {KvType::Float32, KvType::Float16, KvType::BFloat16};

/// Keys and values of one KV head in pages whose unused slots hold NaN.
struct Cache {
  KvPageLayout layout;
  std::size_t head_offset = 0;
  Index positions = 0;
  std::vector<AlignedBuffer> buffers;
  std::vector<const std::byte*> pages;
  std::vector<double> keys;    // [positions][head_dim], rounded to the page's type
  std::vector<double> values;  // [positions][head_dim]

  Cache(KvType type, Index head_dim, Index positions_, test::Random& random,
        float key_deviation = 1.0F)
      : layout{type, 2, 3, head_dim}, head_offset(layout.head_offset(1, 2)), positions(positions_) {
    for (Index first = 0; first < positions; first += page_positions) {
      AlignedBuffer& buffer = buffers.emplace_back(layout.page_bytes());
      std::fill_n(buffer.data(), buffer.size(), std::byte{0xFF});  // NaN in every type
      pages.push_back(buffer.data());
    }
    for (Index position = 0; position < positions; ++position) {
      store(position, test::random_floats(random, head_dim, key_deviation),
            test::random_floats(random, head_dim));
    }
  }

  explicit Cache(const KvPageLayout& layout_)
      : layout(layout_), head_offset(layout.head_offset(1, 2)) {}

  /// With pages of its own, to be stored into but not compared with.
  [[nodiscard]] Cache copy() const {
    Cache other = Cache(layout);
    other.positions = positions;
    for (const AlignedBuffer& buffer : buffers) {
      AlignedBuffer& page = other.buffers.emplace_back(buffer.size());
      std::copy_n(buffer.data(), buffer.size(), page.data());
      other.pages.push_back(page.data());
    }
    return other;
  }

  void store(Index position, const std::vector<float>& key, const std::vector<float>& value) {
    std::byte* page = buffers[static_cast<std::size_t>(position / page_positions)].data();
    kernels<>().store_key_value(key.data(), value.data(), layout, page + head_offset,
                                position % page_positions);
    with_kv_type(layout.type, [&]<class T>(T) {
      for (std::size_t d = 0; d < key.size(); ++d) {
        keys.push_back(to_float(from_float<T>(key[d])));
        values.push_back(to_float(from_float<T>(value[d])));
      }
    });
  }
};

/// Attention of `tokens` tokens from `position` on; queries and result are [tokens][heads][dim].
std::vector<float> run_block(const KernelTable& table, const Cache& cache,
                             std::span<const float> queries, Index tokens, Index position,
                             Index window, float scale) {
  const Index dim = cache.layout.head_dim;
  const auto width = static_cast<std::ptrdiff_t>(queries.size()) / tokens;
  constexpr std::ptrdiff_t gap = 3;  // between tokens, which must stay as it is
  std::vector<float> spread(static_cast<std::size_t>(tokens * (width + gap)), -1.0F);
  for (Index token = 0; token < tokens; ++token) {
    std::copy_n(queries.begin() + token * width, width, spread.begin() + token * (width + gap));
  }
  std::vector<float> output(spread.size(), -1.0F);
  const Index heads = width / dim;
  AlignedBuffer scratch;
  table.attention(
      {.queries = spread.data(),
       .tokens = tokens,
       .query_heads = heads,
       .stride = width + gap,
       .pages = cache.pages.data(),
       .layout = cache.layout,
       .head_offset = cache.head_offset,
       .position = position,
       .window = window,
       .scale = scale,
       .output = output.data(),
       .scratch = scratch.make_room<float>(attention_scratch_size(cache.layout, tokens * heads))});
  std::vector<float> found;
  for (Index token = 0; token < tokens; ++token) {
    const auto row = output.begin() + token * (width + gap);
    found.insert(found.end(), row, row + width);
    // Not CHECK, which takes longer than all the rest.
    if (std::count(row + width, row + width + gap, -1.0F) != gap) FAIL("wrote between tokens");
  }
  return found;
}

/// Attention of one token at `last` to positions from `first` on.
std::vector<float> run(const KernelTable& table, const Cache& cache,
                       const std::vector<float>& queries, Index first, Index last, float scale) {
  return run_block(table, cache, queries, 1, last, last - first + 1, scale);
}

/// What a token's attention is in float64, and how far roundings can take it: [heads][dim].
struct Expected {
  std::vector<double> values;
  std::vector<double> bounds;
};

Expected softmax_attention(const Cache& cache, std::span<const float> queries, Index first,
                           Index last, float scale) {
  const auto dim = static_cast<std::size_t>(cache.layout.head_dim);
  const auto count = static_cast<std::size_t>(last - first + 1);
  const auto pages = static_cast<double>(last / page_positions - first / page_positions + 1);
  Expected expected{std::vector<double>(queries.size()), std::vector<double>(queries.size())};
  for (std::size_t head = 0; head < queries.size() / dim; ++head) {
    const float* query = queries.data() + head * dim;
    std::vector<double> scores(count);
    double score_error = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const double* key = cache.keys.data() + (static_cast<std::size_t>(first) + i) * dim;
      double magnitude = 0;
      for (std::size_t d = 0; d < dim; ++d) {
        scores[i] += query[d] * key[d];
        magnitude += std::abs(query[d] * key[d]);
      }
      scores[i] *= scale;
      // dim products and sums, and the scaling of the query.
      score_error =
          std::max(score_error, (static_cast<double>(dim) + 2) * float_epsilon * magnitude * scale);
    }
    const double maximum = *std::max_element(scores.begin(), scores.end());
    const double minimum = *std::min_element(scores.begin(), scores.end());
    double total = 0;
    for (double& score : scores) total += score = std::exp(score - maximum);
    // A weight is e^(score - maximum), multiplied by one more such factor per page at most: every
    // exponent has a rounding of its size and the errors of its two scores, every exp 2 ULP and
    // every product one rounding. The sums over positions have up to `count` roundings, a lane
    // tree's 4 and one per page. Twice all that, for numerator and denominator; and the division.
    const double exponents = 2 * score_error + float_epsilon * (maximum - minimum + 1);
    const double relative = std::expm1((pages + 1) * exponents) +
                            float_epsilon * (6 * (pages + 1) + static_cast<double>(count) + 5);
    double* values = expected.values.data() + head * dim;
    double* bounds = expected.bounds.data() + head * dim;
    for (std::size_t i = 0; i < count; ++i) {
      const double* value = cache.values.data() + (static_cast<std::size_t>(first) + i) * dim;
      const double weight = scores[i] / total;
      for (std::size_t d = 0; d < dim; ++d) {
        values[d] += weight * value[d];
        // e^x below the least normal float may be lost.
        bounds[d] += (weight + 1.2e-38) * std::abs(value[d]);
      }
    }
    for (std::size_t d = 0; d < dim; ++d) {
      bounds[d] =
          (2 * relative + float_epsilon) * 1.001 * bounds[d] + 2.4e-38 * static_cast<double>(count);
    }
  }
  return expected;
}

/// How many outputs are further from what they should be than roundings can take them.
int differences(std::span<const float> found, const Expected& expected) {
  int failures = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    failures += !(std::abs(found[i] - expected.values[i]) <= expected.bounds[i]);
  }
  return failures;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](float x, float y) {
    return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y);
  });
}

}  // namespace

TEST_CASE("attention against a float64 softmax", "[attention]") {
  test::Random random(120);
  for (const KvType type : kv_types) {
    for (const Index dim : {2, 16, 20, 33, 64, 80}) {
      const Cache cache(type, dim, 200, random);
      const float scale = 1 / std::sqrt(static_cast<float>(dim));
      for (const Index last : {0, 1, 15, 63, 64, 65, 127, 128, 150, 199}) {
        const Index query_heads = test::random_integer<Index>(random, 1, 4);
        const auto queries = test::random_floats(random, query_heads * dim, 2.0F);
        // Windows: all, the last position alone, and any.
        for (const Index first : {Index{0}, last, test::random_integer<Index>(random, 0, last)}) {
          const Expected expected = softmax_attention(cache, queries, first, last, scale);
          for (const KernelTable* table : test::kernel_tables()) {
            CAPTURE(table->isa, kv_type_name(type), dim, first, last);
            const auto found = run(*table, cache, queries, first, last, scale);
            CHECK(differences(found, expected) == 0);
          }
        }
      }
    }
  }
}

TEST_CASE("a block of tokens against a float64 softmax, and against its rows alone",
          "[attention][slow]") {
  test::Random random(127);
  for (const KvType type : kv_types) {
    for (const Index dim : {2, 20, 64, 80, 96}) {
      const Index positions = 330;
      const Cache cache(type, dim, positions, random);
      const float scale = 1 / std::sqrt(static_cast<float>(dim));
      for (const Index heads : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16}) {
        // Blocks that end at, before and after the border of a page, and all of the cache.
        const Index sizes[] = {1, 2, 17, test::random_integer<Index>(random, 1, 70), 150};
        const Index tokens = sizes[test::random_integer<std::size_t>(random, 0, 4)];
        const Index ends[] = {tokens, std::max<Index>(128, tokens), 193, 255, positions};
        const Index position =
            std::max(ends[test::random_integer<std::size_t>(random, 0, 4)] - tokens, Index{0});
        const auto queries = test::random_floats(random, tokens * heads * dim, 2.0F);
        // Two windows each, one that spans pages and one that need not.
        const Index wide = test::random_integer<int>(random, 0, 1) == 0 ? 0 : 64;
        const Index other = test::random_integer<int>(random, 0, 2) == 0
                                ? 1
                                : test::random_integer<Index>(random, 2, 200);
        for (const Index window : {wide, other}) {
          const auto first_of = [&](Index token) {
            return window == 0 ? 0 : std::max(position + token - window + 1, Index{0});
          };
          const auto begin_of = [&](Index token) {
            return static_cast<std::size_t>(token * heads * dim);
          };
          const auto width = static_cast<std::size_t>(heads * dim);
          // Some of the tokens, since float64 takes long: the first, the last and any between,
          // at most 16 apart.
          std::vector<Index> checked{0};
          while (checked.back() < tokens - 1) {
            const Index next = checked.back() + test::random_integer<Index>(random, 1, 16);
            checked.push_back(std::min(next, tokens - 1));
          }
          std::vector<Expected> expected;
          for (const Index token : checked) {
            expected.push_back(softmax_attention(cache,
                                                 std::span(queries).subspan(begin_of(token), width),
                                                 first_of(token), position + token, scale));
          }
          for (const KernelTable* table : test::kernel_tables()) {
            CAPTURE(table->isa, kv_type_name(type), dim, heads, tokens, position, window);
            const auto found = run_block(*table, cache, queries, tokens, position, window, scale);
            int wrong = 0;
            for (std::size_t i = 0; i < checked.size(); ++i) {
              wrong +=
                  differences(std::span(found).subspan(begin_of(checked[i]), width), expected[i]);
            }
            int other_bits = 0;
            for (const Index token : checked) {
              const auto query = std::span(queries).subspan(begin_of(token), width);
              const auto alone =
                  run_block(*table, cache, query, 1, position + token, window, scale);
              other_bits += std::memcmp(alone.data(), found.data() + begin_of(token),
                                        width * sizeof(float)) != 0;
            }
            CHECK(wrong == 0);
            CHECK(other_bits == 0);
          }
        }
      }
    }
  }
}

TEST_CASE("a block of tokens takes no part of later ones", "[attention]") {
  // The keys and values of a block's later tokens are not finite; its first ones do not see it.
  test::Random random(128);
  const float infinity = std::numeric_limits<float>::infinity();
  for (const KvType type : kv_types) {
    for (const Index heads : {1, 3, 8}) {
      const Index dim = 20;
      Cache cache(type, dim, 75, random);
      const auto queries = test::random_floats(random, 5 * heads * dim);
      for (const KernelTable* table : test::kernel_tables()) {
        CAPTURE(table->isa, kv_type_name(type), heads);
        const auto before = run_block(*table, cache, queries, 5, 70, 40, 0.2F);
        Cache other = cache.copy();
        const std::vector<float> infinite(static_cast<std::size_t>(dim), infinity);
        for (const Index bad : {31, 73}) other.store(bad, infinite, infinite);
        const auto after = run_block(*table, other, queries, 5, 70, 40, 0.2F);
        // Token 70 sees positions 31 to 70, token 71 begins with 32, token 73 sees 73.
        const std::ptrdiff_t width = heads * dim;
        CHECK(
            std::equal(before.begin() + width, before.begin() + 3 * width, after.begin() + width));
        CHECK(std::none_of(after.begin(), after.begin() + width,
                           [](float x) { return std::isfinite(x); }));
        CHECK(std::none_of(after.begin() + 3 * width, after.end(),
                           [](float x) { return std::isfinite(x); }));
      }
    }
  }
}

TEST_CASE("attention with scores far apart", "[attention]") {
  test::Random random(121);
  const Cache cache(KvType::Float32, 24, 140, random, 20.0F);
  const auto queries = test::random_floats(random, 48, 3.0F);
  for (const KernelTable* table : test::kernel_tables()) {
    CAPTURE(table->isa);
    const auto found = run(*table, cache, queries, 0, 139, 1.0F);
    CHECK(differences(found, softmax_attention(cache, queries, 0, 139, 1.0F)) == 0);
  }
}

TEST_CASE("attention with scores that rise from page to page", "[attention]") {
  // By less than what a row's sums stay relative to bears, by about as much, and by more.
  test::Random random(129);
  for (const float step : {0.5F, 3.0F, 8.0F, 40.0F}) {
    Cache cache(KvPageLayout{KvType::Float32, 2, 3, 20});
    cache.positions = 300;
    for (Index position = 0; position < cache.positions; ++position) {
      if (position % page_positions == 0) {
        cache.pages.push_back(cache.buffers.emplace_back(cache.layout.page_bytes()).data());
      }
      auto key = test::random_floats(random, 20, 0.1F);
      key[0] += step * static_cast<float>(position / page_positions);
      cache.store(position, key, test::random_floats(random, 20));
    }
    auto queries = test::random_floats(random, 40);
    queries[0] = 1.0F;
    queries[20] = -1.0F;  // falls
    const Expected expected = softmax_attention(cache, queries, 0, 299, 1.0F);
    for (const KernelTable* table : test::kernel_tables()) {
      CAPTURE(table->isa, step);
      CHECK(differences(run(*table, cache, queries, 0, 299, 1.0F), expected) == 0);
    }
  }
}

TEST_CASE("attention to one position is its value", "[attention]") {
  test::Random random(122);
  for (const KvType type : kv_types) {
    const Cache cache(type, 20, 70, random);
    const auto queries = test::random_floats(random, 20);
    for (const KernelTable* table : test::kernel_tables()) {
      CAPTURE(table->isa, kv_type_name(type));
      const auto found = run(*table, cache, queries, 66, 66, 0.3F);
      for (std::size_t d = 0; d < 20; ++d) {
        CHECK(static_cast<double>(found[d]) == cache.values[66 * 20 + d]);
      }
    }
  }
}

TEST_CASE("hidden positions have no influence, whatever their slots hold", "[attention]") {
  test::Random random(123);
  for (const KvType type : kv_types) {
    const Index dim = 20;
    const auto queries = test::random_floats(random, 3 * dim);
    Cache cache(type, dim, 100, random);  // later slots of its last page are NaN
    for (const KernelTable* table : test::kernel_tables()) {
      CAPTURE(table->isa, kv_type_name(type));
      const auto before = run(*table, cache, queries, 70, 99, 0.2F);
      for (const float value : before) CHECK(std::isfinite(value));
      Cache other = [&] {
        test::Random same(124);
        return Cache(type, dim, 128, same, 30.0F);  // other contents everywhere
      }();
      for (Index position = 70; position < 100; ++position) {
        const auto at = static_cast<std::ptrdiff_t>(position * dim);
        const std::vector<float> key(cache.keys.begin() + at, cache.keys.begin() + at + dim);
        const std::vector<float> value(cache.values.begin() + at, cache.values.begin() + at + dim);
        other.store(position, key, value);
      }
      CHECK(same_bits(run(*table, other, queries, 70, 99, 0.2F), before));
      const float infinity = std::numeric_limits<float>::infinity();
      const std::vector<float> infinite(static_cast<std::size_t>(dim), infinity);
      for (const Index hidden : {64, 69, 100, 127}) other.store(hidden, infinite, infinite);
      CHECK(same_bits(run(*table, other, queries, 70, 99, 0.2F), before));
    }
  }
}

TEST_CASE("query heads do not depend on one another", "[attention]") {
  test::Random random(125);
  const Cache cache(KvType::Float16, 33, 130, random);
  const auto queries = test::random_floats(random, 4 * 33);
  for (const KernelTable* table : test::kernel_tables()) {
    CAPTURE(table->isa);
    const auto together = run(*table, cache, queries, 3, 129, 0.2F);
    for (std::ptrdiff_t head = 0; head < 4; ++head) {
      const std::vector<float> query(queries.begin() + head * 33, queries.begin() + head * 33 + 33);
      const std::vector<float> expected(together.begin() + head * 33,
                                        together.begin() + head * 33 + 33);
      CHECK(same_bits(run(*table, cache, query, 3, 129, 0.2F), expected));
    }
  }
}

TEST_CASE("what is visible and not finite shows in the output", "[attention]") {
  test::Random random(126);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Cache cache(KvType::Float16, 20, 80, random);
  const std::vector<float> bad(20, nan);
  cache.store(30, bad, bad);
  const auto queries = test::random_floats(random, 20);
  for (const KernelTable* table : test::kernel_tables()) {
    CAPTURE(table->isa);
    for (const float value : run(*table, cache, queries, 0, 79, 0.2F)) CHECK(std::isnan(value));
  }
}
