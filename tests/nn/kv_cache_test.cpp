#include <nibble/nn/kv_cache.hpp>

#include <set>
#include <thread>

#include "io/io_test_support.hpp"

namespace nibble {
namespace {

constexpr KvPageLayout small_page{KvType::Float32, 2, 3, 10};

std::shared_ptr<KvPool> pool_of(std::size_t pages) {
  return std::make_shared<KvPool>(small_page, pages * small_page.page_bytes());
}

/// Pages that can still be had.
std::size_t left(KvPool& pool) {
  std::vector<std::byte*> pages;
  try {
    for (;;) pages.push_back(pool.acquire());
  } catch (const Error&) {
  }
  for (std::byte* page : pages) pool.release(page);
  return pages.size();
}

TEST_CASE("a page holds the keys and values of all layers and heads") {
  // 64 positions, 6 heads, a key of 10 and a value of 16 floats.
  CHECK(small_page.page_bytes() == 64 * 6 * (10 + 16) * 4);
  KvPageLayout half = small_page;
  half.type = KvType::BFloat16;
  CHECK(half.page_bytes() == small_page.page_bytes() / 2);
}

TEST_CASE("a budget is rounded down to pages and refused below one") {
  CHECK(KvPool(small_page, small_page.page_bytes()).page_limit() == 1);
  CHECK(KvPool(small_page, 3 * small_page.page_bytes() - 1).page_limit() == 2);
  const std::size_t little = small_page.page_bytes() - 1;
  REQUIRE_ERROR(KvPool(small_page, little),
                concat("KV budget of ", little, " bytes: a page of 64"));
  REQUIRE_ERROR(KvPool(small_page, 0), "KV budget of 0 bytes");
}

TEST_CASE("a page that holds nothing is refused") {
  for (const KvPageLayout& layout :
       {KvPageLayout{KvType::Float16, 0, 2, 16}, KvPageLayout{KvType::Float16, 2, 0, 16},
        KvPageLayout{KvType::Float16, 2, 2, 0}, KvPageLayout{KvType::Float16, -1, -1, 16}}) {
    REQUIRE_ERROR(KvPool(layout, 1 << 20),
                  concat("a KV page of ", layout.layers, " layers of ", layout.heads, " heads of ",
                         layout.head_dim, " holds nothing"));
  }
}

TEST_CASE("pages are aligned, distinct, and as many as the budget has") {
  KvPool pool(small_page, 5 * small_page.page_bytes());
  std::set<std::byte*> pages;
  for (int i = 0; i < 5; ++i) {
    std::byte* page = pool.acquire();
    CHECK(reinterpret_cast<std::uintptr_t>(page) % alignment == 0);
    std::memset(page, i, small_page.page_bytes());
    pages.insert(page);
  }
  CHECK(pages.size() == 5);
  REQUIRE_ERROR(pool.acquire(), "the KV budget of 5 pages of 64 positions is used up");
  pool.release(*pages.begin());
  CHECK(pool.acquire() == *pages.begin());
  for (std::byte* page : pages) pool.release(page);
  CHECK(left(pool) == 5);
}

TEST_CASE("a cache takes pages as positions need them and gives them back") {
  const auto pool = pool_of(4);
  {
    KvCache cache(pool);
    CHECK(cache.length() == 0);
    cache.reserve(0);
    CHECK(left(*pool) == 4);
    cache.reserve(1);
    CHECK(left(*pool) == 3);
    cache.reserve(64);
    CHECK(left(*pool) == 3);
    cache.reserve(65);
    cache.reserve(10);  // never fewer
    CHECK(left(*pool) == 2);
    CHECK(cache.page_of(63) == cache.pages()[0]);
    CHECK(cache.page_of(64) == cache.pages()[1]);
    cache.set_length(65);
    cache.truncate(1000);
    CHECK(cache.length() == 65);
    CHECK(left(*pool) == 2);
    cache.truncate(64);
    CHECK(cache.length() == 64);
    CHECK(left(*pool) == 3);
    cache.truncate(-3);
    CHECK(cache.length() == 0);
    CHECK(left(*pool) == 4);
    cache.reserve(100);
  }
  CHECK(left(*pool) == 4);
}

TEST_CASE("a cache that cannot have its pages keeps what it had") {
  const auto pool = pool_of(3);
  KvCache cache(pool), other(pool);
  cache.reserve(70);
  cache.set_length(70);
  const std::byte* first = cache.pages()[0];
  REQUIRE_ERROR(cache.reserve(64 * 4), "is used up");
  CHECK(cache.length() == 70);
  CHECK(cache.pages()[0] == first);
  CHECK(left(*pool) == 1);
  REQUIRE_ERROR(other.reserve(65), "is used up");
  CHECK(left(*pool) == 1);
  other.reserve(64);
  CHECK(left(*pool) == 0);
}

TEST_CASE("moving a cache moves its pages") {
  const auto pool = pool_of(4);
  KvCache first(pool);
  first.reserve(65);
  first.set_length(65);
  const std::byte* page = first.pages()[0];
  KvCache second(std::move(first));
  CHECK(second.length() == 65);
  CHECK(second.pages()[0] == page);
  CHECK(left(*pool) == 2);
  KvCache third(pool);
  third.reserve(1);
  third = std::move(second);
  CHECK(third.length() == 65);
  CHECK(third.pages()[0] == page);
  std::vector<KvCache> caches;
  for (int i = 0; i < 1; ++i) caches.push_back(std::move(third));
  caches.clear();
  second.truncate(0);  // what `third` had before
  CHECK(left(*pool) == 4);
}

TEST_CASE("a pool serves several threads") {
  const auto pool = pool_of(8);
  std::vector<std::thread> threads;
  std::atomic<int> clashes{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 300; ++round) {
        KvCache cache(pool);
        cache.reserve(128);  // two pages for each of four threads
        *cache.page_of(0) = *cache.page_of(64) = static_cast<std::byte>(t);
        std::this_thread::yield();
        if (*cache.page_of(0) != static_cast<std::byte>(t) ||
            *cache.page_of(64) != static_cast<std::byte>(t)) {
          ++clashes;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(clashes == 0);
  CHECK(left(*pool) == 8);
}

}  // namespace
}  // namespace nibble
