// A token's logits have the same bits on any number of threads, however its sequence is cut into
// chunks, whatever else is in the batch, and after any truncation.

#include <exception>
#include <iterator>
#include <memory>
#include <thread>
#include <vector>

#include "support/catch.hpp"
#include "support/matrices.hpp"
#include "support/tiny_model.hpp"

namespace nibble {
namespace {

using namespace test;

struct Mode {
  ActivationMode activations;
  KvType kv;
};

std::vector<Mode> all_modes() {
  std::vector<Mode> modes;
  for (const ActivationMode activations : {ActivationMode::Native, ActivationMode::Float}) {
    for (const KvType kv : {KvType::Float32, KvType::Float16, KvType::BFloat16}) {
      modes.push_back({activations, kv});
    }
  }
  return modes;
}

/// The logits of `ids` while sequences of other lengths come and go beside them: prompts in chunks
/// of several sizes, single tokens, sessions that begin late, all drawing from one pool.
Matrix logits_in_company(const Decoder& decoder, std::span<const TokenId> ids, ExecutorRef pool,
                         const Mode& mode) {
  const auto count = static_cast<Index>(ids.size());
  const std::vector<TokenId> other = random_tokens(decoder.config().vocab_size, 4 * count, 99);
  const std::shared_ptr<KvPool> pages = decoder.make_pool(2 * count, mode.kv, 4);
  std::vector<Session> company;
  for (int i = 0; i < 3; ++i) company.emplace_back(pages);
  Session own(pages);
  Workspace workspace(pool, mode.activations);
  Matrix logits(count, decoder.config().vocab_size);
  const Index sizes[] = {1, 19, 1, 1, 70, 3, 1, 40};
  Index done = 0;
  for (std::size_t step = 0; done < count; ++step) {
    const Index size = std::min(sizes[step % std::size(sizes)], count - done);
    std::vector<Slice> batch;
    const auto join = [&](Session& session, std::size_t first, std::size_t length, LogitRows rows) {
      batch.push_back({&session, std::span(other).subspan(first, length), rows});
    };
    if (step % 3 != 1) join(company[0], step, 1 + step % 5, LogitRows::Last);
    const Index row = batch.empty() ? 0 : 1;
    batch.push_back({&own,
                     ids.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(size)),
                     LogitRows::All});
    join(company[1], step, 1, LogitRows::All);
    if (step >= 2) join(company[2], step, 17, LogitRows::None);
    logits.middleRows(done, size) = decoder.forward(batch, workspace).middleRows(row, size);
    done += size;
    if (step == 3) company[0].truncate(2);
  }
  return logits;
}

/// The logits of `ids` where wrong continuations were taken in and forgotten on the way.
Matrix logits_after_detours(const Decoder& decoder, std::span<const TokenId> ids, ExecutorRef pool,
                            const Mode& mode) {
  const auto count = static_cast<Index>(ids.size());
  const std::vector<TokenId> wrong = random_tokens(decoder.config().vocab_size, count, 7);
  Session session = decoder.make_session(2 * count, mode.kv);
  Workspace workspace(pool, mode.activations);
  Matrix logits(count, decoder.config().vocab_size);
  for (Index first = 0; first < count; first += 31) {
    const Index size = std::min(Index{31}, count - first);
    const auto detour = [&](Index length) {
      const Slice slice{&session, std::span(wrong).first(static_cast<std::size_t>(length)),
                        LogitRows::None};
      static_cast<void>(decoder.forward({&slice, 1}, workspace));
      session.truncate(first);
    };
    detour(5);
    detour(count / 2);  // into pages that are given back
    const Slice slice{&session,
                      ids.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(size)),
                      LogitRows::All};
    logits.middleRows(first, size) = decoder.forward({&slice, 1}, workspace);
  }
  return logits;
}

using Pools = std::vector<std::unique_ptr<ThreadPool>>;

/// Every way on every number of threads.
void check_every_way(const Decoder& decoder, std::span<const TokenId> ids, const Pools& pools,
                     const Mode& mode) {
  INFO(activation_mode_name(mode.activations) << " " << kv_type_name(mode.kv));
  const Matrix expected = logits_of(decoder, ids, *pools[0], {mode.activations, mode.kv, 512});
  REQUIRE(expected.allFinite());
  for (const auto& pool : pools) {
    INFO(pool->size() << " threads");
    for (const Index chunk : {1, 7, 512}) {
      INFO("chunks of " << chunk);
      CHECK(
          same_bits(logits_of(decoder, ids, *pool, {mode.activations, mode.kv, chunk}), expected));
    }
    CHECK(same_bits(logits_in_company(decoder, ids, *pool, mode), expected));
    CHECK(same_bits(logits_after_detours(decoder, ids, *pool, mode), expected));
  }
}

/// Every way and every number of threads, but not each with each.
void check_some_ways(const Decoder& decoder, std::span<const TokenId> ids, const Pools& pools,
                     const Mode& mode) {
  INFO(activation_mode_name(mode.activations) << " " << kv_type_name(mode.kv));
  const Matrix expected = logits_of(decoder, ids, *pools[2], {mode.activations, mode.kv, 512});
  REQUIRE(expected.allFinite());
  CHECK(same_bits(logits_of(decoder, ids, *pools[0], {mode.activations, mode.kv, 1}), expected));
  CHECK(same_bits(logits_of(decoder, ids, *pools[1], {mode.activations, mode.kv, 7}), expected));
  CHECK(same_bits(logits_in_company(decoder, ids, *pools[1], mode), expected));
  CHECK(same_bits(logits_after_detours(decoder, ids, *pools[0], mode), expected));
}

Pools three_pools() {
  Pools pools;
  for (const int threads : {1, 2, 3}) pools.push_back(std::make_unique<ThreadPool>(threads));
  return pools;
}

TEST_CASE("the bits of the logits are the same every way, for every format and precision") {
  // Widths above 128, so that groups of every size are more than one and the last one is cut.
  const TinyFolder folder({.patch = {{"hidden_size", 144},
                                     {"intermediate_size", 150},
                                     {"num_hidden_layers", 1},
                                     {"model_type", "qwen3"},
                                     {"attention_bias", true}}});
  const ModelFolder model = folder.open();
  const Pools pools = three_pools();
  const std::vector<TokenId> ids = random_tokens(53, 70);
  for (const AnyFormat& format : all_formats()) {
    INFO(describe_format(format));
    const Recipe recipe{{{"*_proj.weight", false, RoundToNearest{}, format},
                         {"model.embed_tokens.weight", false, RoundToNearest{}, format},
                         {"lm_head.weight", false, RoundToNearest{}, format}}};
    const Decoder decoder = quantized(model, recipe, *pools[1]);
    for (const Mode& mode : all_modes()) {
      const bool is_default =
          mode.activations == ActivationMode::Native && mode.kv == KvType::Float16;
      (is_default ? check_every_way : check_some_ways)(decoder, ids, pools, mode);
    }
  }
}

TEST_CASE("the bits of the logits are the same every way, for every kind of cache and window") {
  const Pools pools = three_pools();
  for (const int window : {0, 9, 64, 70}) {
    INFO("window " << window);
    nlohmann::json patch = {{"num_hidden_layers", 3}};
    if (window != 0) patch.update({{"model_type", "mistral"}, {"sliding_window", window}});
    const TinyFolder folder({.patch = patch});
    const Decoder decoder = quantized(folder.open(), uniform_recipe("int4"), *pools[0]);
    const std::vector<TokenId> ids = random_tokens(53, 150);
    for (const Mode& mode : all_modes()) check_every_way(decoder, ids, pools, mode);
  }
}

TEST_CASE("the bits of novella-5m's logits are the same every way") {
  // Large enough that matrices are split into several runs of panels.
  const ModelFolder model(source_path("examples/models/novella-5m"));
  const Pools pools = three_pools();
  const std::vector<TokenId> ids = random_tokens(model.config().vocab_size, 90);
  const auto check = [&](const Decoder& decoder, const Mode& mode) {
    const Matrix expected = logits_of(decoder, ids, *pools[0], {mode.activations, mode.kv, 512});
    CHECK(same_bits(logits_of(decoder, ids, *pools[1], {mode.activations, mode.kv, 7}), expected));
    CHECK(same_bits(logits_of(decoder, ids, *pools[2], {mode.activations, mode.kv, 1}), expected));
    CHECK(same_bits(logits_in_company(decoder, ids, *pools[2], mode), expected));
  };
  check(loaded(model, *pools[1]), {ActivationMode::Native, KvType::Float16});
  const Decoder int4 =
      quantized(model, uniform_recipe("int4", {.group_size = 128, .asymmetric = true}), *pools[1]);
  check(int4, {ActivationMode::Native, KvType::Float16});
  check(int4, {ActivationMode::Float, KvType::Float32});
}

/// The caller's own threads, the simplest way: every loop starts some, which take every third task.
struct ThreadsPerLoop {
  static int size() { return 3; }
  static void run(Index tasks, FunctionRef<void(Index task, int worker)> body) {
    std::vector<std::exception_ptr> errors(3);
    std::vector<std::thread> threads;
    for (int worker = 0; worker < size(); ++worker) {
      threads.emplace_back([&, worker] {
        try {
          for (Index task = worker; task < tasks; task += size()) body(task, worker);
        } catch (...) {
          errors[static_cast<std::size_t>(worker)] = std::current_exception();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const std::exception_ptr& error : errors) {
      if (error) std::rethrow_exception(error);
    }
  }
};

/// None at all, and the tasks in the wrong order.
struct LastTaskFirst {
  static int size() { return 1; }
  static void run(Index tasks, FunctionRef<void(Index task, int worker)> body) {
    while (tasks > 0) body(--tasks, 0);
  }
};

TEST_CASE("the bits of the logits are the same on the caller's own executor") {
  const ModelFolder model(source_path("examples/models/novella-5m"));
  const std::vector<TokenId> ids = random_tokens(model.config().vocab_size, 40);
  const Recipe recipe = uniform_recipe("int4");
  ThreadPool pool(2);
  ThreadsPerLoop threads;
  LastTaskFirst serial;
  const Mode mode{ActivationMode::Native, KvType::Float16};
  const Matrix expected = logits_of(quantized(model, recipe, pool), ids, pool);
  for (const ExecutorRef executor : {ExecutorRef(threads), ExecutorRef(serial)}) {
    INFO(executor.size() << " workers");
    const Decoder decoder = quantized(model, recipe, executor);
    CHECK(same_bits(logits_of(decoder, ids, executor), expected));
    CHECK(same_bits(logits_in_company(decoder, ids, executor, mode), expected));
  }
}

}  // namespace
}  // namespace nibble
