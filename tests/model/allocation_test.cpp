// Decoding allocates nothing per token, counted by an operator new of our own.

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#include "support/catch.hpp"
#include "support/tiny_model.hpp"

namespace {

std::atomic<long> allocations{0};
std::atomic<std::size_t> allocated_bytes{0};

void* allocate(std::size_t size, std::size_t align) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  allocated_bytes.fetch_add(size, std::memory_order_relaxed);
  const std::size_t rounded = (size + align - 1) / align * align;
  if (void* memory = std::aligned_alloc(align, rounded == 0 ? align : rounded)) return memory;
  throw std::bad_alloc();
}

// Not inlined: g++ would warn of memory from operator new that goes to std::free.
[[gnu::noinline]] void release(void* memory) noexcept {
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new[](std::size_t size) {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new(std::size_t size, std::align_val_t align) {
  return allocate(size, static_cast<std::size_t>(align));
}
void* operator new[](std::size_t size, std::align_val_t align) {
  return allocate(size, static_cast<std::size_t>(align));
}
// Sanitizers have a version of their own of those that do not throw, so they are replaced too.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  try {
    return operator new(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return operator new(size, std::nothrow);
}
void operator delete(void* memory) noexcept {
  release(memory);
}
void operator delete[](void* memory) noexcept {
  release(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  release(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  release(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  release(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  release(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept {
  release(memory);
}

namespace nibble {
namespace {

using namespace test;

TEST_CASE("the counter counts") {
  const long before = allocations;
  const auto vector = std::make_unique<std::vector<int>>(100);
  CHECK(vector->size() == 100);
  CHECK(allocations - before == 2);
}

/// Allocations of 40 decoded tokens after the first eight.
long allocations_of_decoding(const Decoder& decoder, int threads, ActivationMode activations) {
  ThreadPool pool(threads);
  Workspace workspace(pool, activations);
  Session first = decoder.make_session(128), second = decoder.make_session(128);
  first.cache().reserve(64);
  second.cache().reserve(64);
  const std::vector<TokenId> prompt = random_tokens(53, 10);
  const Slice start{&first, prompt, LogitRows::Last};
  static_cast<void>(decoder.forward({&start, 1}, workspace));
  long before = 0;
  for (int step = 0; step < 48; ++step) {
    if (step == 8) before = allocations;
    const TokenId token = step % 53;
    const Slice batch[] = {{&first, {&token, 1}, LogitRows::Last},
                           {&second, {&token, 1}, LogitRows::Last}};
    static_cast<void>(decoder.forward(batch, workspace));
  }
  return allocations - before;
}

TEST_CASE("decoding within the pages of a session allocates nothing") {
  const TinyFolder folder({.patch = {{"attention_bias", true}, {"hidden_size", 200}}});
  const ModelFolder model = folder.open();
  ThreadPool pool(1);
  const Recipe mixed{{{"*.0.*", false, RoundToNearest{}, make_format("int4")},
                      {"*q_proj.weight", false, RoundToNearest{}, make_format("zero-one-int8")},
                      {"*mlp*", false, RoundToNearest{}, make_format("bfloat16")}}};
  for (const Recipe& recipe : {Recipe{}, uniform_recipe("int8"), mixed}) {
    const Decoder decoder = quantized(model, recipe, pool);
    for (const int threads : {1, 2}) {
      for (const ActivationMode mode : {ActivationMode::Native, ActivationMode::Float}) {
        CHECK(allocations_of_decoding(decoder, threads, mode) == 0);
      }
    }
  }
}

TEST_CASE("decoding novella-5m allocates nothing") {
  // Its matrices are large enough to be split among threads.
  ThreadPool pool(1);
  const Decoder decoder = quantized(ModelFolder(source_path("examples/models/novella-5m")),
                                    uniform_recipe("int8"), pool);
  CHECK(allocations_of_decoding(decoder, 2, ActivationMode::Native) == 0);
}

TEST_CASE("loading a packed model allocates no room for its matrices") {
  const TinyFolder folder({.patch = {{"hidden_size", 200}, {"vocab_size", 5000}}});
  ThreadPool pool(1);
  quantize_folder(folder.open(), uniform_recipe("int8"), folder / "out", Existing::refuse, pool);
  const ModelFolder packed(folder / "out");
  const std::size_t before = allocated_bytes;
  const Decoder decoder = loaded(packed, pool);
  CHECK(decoder.embedding().weight().bytes().size() >= 4'000'000);
  CHECK(allocated_bytes - before < 100'000);
}

TEST_CASE("a pool of KV pages takes up its budget and no more") {
  for (const Index layers : {1, 33, 65, 150}) {  // pages from 128 KiB to 18.75 MiB
    const KvPageLayout layout{KvType::Float32, layers, 8, 32};
    for (const std::size_t pages : {1U, 4U, 9U}) {
      const std::size_t budget = pages * layout.page_bytes();
      CAPTURE(layout.page_bytes(), pages);
      const std::size_t before = allocated_bytes;
      KvPool pool(layout, budget);
      for (std::size_t i = 0; i < pages; ++i) CHECK(pool.acquire() != nullptr);
      CHECK(allocated_bytes - before >= budget);
      CHECK(allocated_bytes - before < budget + 4096);  // the lists of pages
    }
  }
}

}  // namespace
}  // namespace nibble
