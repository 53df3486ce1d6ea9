#include "nibble/core/thread_pool.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <thread>
#include <vector>

#include "support/catch.hpp"

using nibble::Index;
using nibble::ThreadPool;

TEST_CASE("every task runs once, on a worker of the pool", "[thread_pool]") {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    CAPTURE(threads);
    REQUIRE(pool.size() == threads);
    for (const Index tasks : {0, 1, 2, 6, 7, 8, 1000}) {
      std::vector<std::atomic<int>> runs(static_cast<std::size_t>(tasks));
      std::atomic<bool> workers_valid = true;
      pool.run(tasks, [&](Index task, int worker) {
        ++runs[static_cast<std::size_t>(task)];
        if (worker < 0 || worker >= threads) workers_valid = false;
      });
      CAPTURE(tasks);
      CHECK(workers_valid);
      Index once = 0;
      for (const auto& count : runs) once += count == 1 ? 1 : 0;
      CHECK(once == tasks);
    }
  }
}

TEST_CASE("fewer than one task is no work", "[thread_pool]") {
  ThreadPool pool(2);
  pool.run(-1, [](Index, int) { throw std::logic_error("called"); });
}

TEST_CASE("no two tasks run on one worker at a time", "[thread_pool]") {
  ThreadPool pool(3);
  std::vector<std::atomic<int>> busy(3);
  std::atomic<bool> alone = true;
  pool.run(2000, [&](Index, int worker) {
    auto& mine = busy[static_cast<std::size_t>(worker)];
    if (mine.fetch_add(1) != 0) alone = false;
    mine.fetch_sub(1);
  });
  CHECK(alone);
}

TEST_CASE("an exception is rethrown and the pool goes on", "[thread_pool]") {
  for (const int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    CAPTURE(threads);
    for (int round = 0; round < 20; ++round) {
      std::atomic<int> ran = 0;
      const auto body = [&](Index task, int) {
        ++ran;
        if (task == 5) throw std::out_of_range("task 5");
        // All of them take seconds: task 5's thread may be slow to throw.
        if (task > 5) std::this_thread::sleep_for(std::chrono::microseconds(200));
      };
      CHECK_THROWS_WITH(pool.run(100000, body), "task 5");
      CHECK(ran < 100000);  // tasks not begun are left out
      std::atomic<Index> sum = 0;
      pool.run(100, [&](Index task, int) { sum += task; });
      CHECK(sum == 4950);
    }
  }
}

TEST_CASE("one of many exceptions is rethrown", "[thread_pool]") {
  ThreadPool pool(3);
  const auto always = [](Index, int) { throw std::runtime_error("each"); };
  CHECK_THROWS_WITH(pool.run(100, always), "each");
}

TEST_CASE("many short loops after one another", "[thread_pool]") {
  ThreadPool pool(3);
  std::vector<std::uint64_t> sums(4, 0);  // plain memory: the end of a loop publishes its writes
  for (int loop = 0; loop < 5000; ++loop) {
    pool.run(4, [&](Index task, int) { sums[static_cast<std::size_t>(task)] += 1; });
  }
  CHECK(sums == std::vector<std::uint64_t>(4, 5000));
}

TEST_CASE("loops between which the workers fall asleep", "[thread_pool]") {
  for (const int threads : {2, 7}) {
    ThreadPool pool(threads);
    std::vector<std::uint64_t> sums(9, 0);
    for (int loop = 0; loop < 30; ++loop) {
      pool.run(9, [&](Index task, int) { sums[static_cast<std::size_t>(task)] += 1; });
      std::this_thread::sleep_for(std::chrono::milliseconds(loop % 3));
    }
    CHECK(sums == std::vector<std::uint64_t>(9, 30));
  }
}

TEST_CASE("a caller that has to wait for a worker falls asleep", "[thread_pool]") {
  ThreadPool pool(2);
  for (int loop = 0; loop < 20; ++loop) {
    std::atomic<int> arrived = 0;
    std::atomic<bool> late_one_done = false;
    pool.run(2, [&](Index, int worker) {
      ++arrived;
      while (arrived < 2) std::this_thread::yield();  // so the two tasks are on two threads
      if (worker == 0) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      late_one_done = true;
    });
    CHECK(late_one_done);
  }
}

TEST_CASE("as many tasks as there are threads run at the same time", "[thread_pool]") {
  for (const int threads : {2, 3, 7}) {
    ThreadPool pool(threads);
    std::atomic<int> arrived = 0;
    pool.run(threads, [&](Index, int) {
      ++arrived;
      while (arrived < threads) std::this_thread::yield();
    });
    CHECK(arrived == threads);
  }
}

TEST_CASE("threads that share a pool take turns", "[thread_pool]") {
  ThreadPool pool(3);
  const auto count_loops = [&pool](std::uint64_t& sum) {
    for (int loop = 0; loop < 500; ++loop) {
      std::vector<std::uint64_t> done(5, 0);
      pool.run(5, [&](Index task, int) { done[static_cast<std::size_t>(task)] += 1; });
      for (const std::uint64_t once : done) sum += once;
    }
  };
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  std::thread other([&] { count_loops(second); });
  count_loops(first);
  other.join();
  CHECK(first == 2500);
  CHECK(second == 2500);
}

TEST_CASE("a pool that never ran ends", "[thread_pool]") {
  for (int i = 0; i < 50; ++i) ThreadPool pool(4);
}

TEST_CASE("numbers of threads", "[thread_pool]") {
  CHECK(ThreadPool().size() >= 1);
  CHECK(ThreadPool(0).size() >= 1);
  CHECK_THROWS_WITH(ThreadPool(-1), "threads: expected 0 to 1024, found -1");
  CHECK_THROWS_AS(ThreadPool(1025), nibble::Error);
}
