// A pool of threads that belongs to the caller and splits one loop at a time.
#pragma once

#include <algorithm>
#include <atomic>
#include <cassert>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/executor.hpp>
#include <nibble/core/function_ref.hpp>
#include <nibble/core/spin.hpp>

namespace nibble {

/// Runs loops on `size()` threads: the calling one and size() - 1 workers of its own.
///
/// After a loop, workers look out for the next one for 30 microseconds, longer than between two
/// loops of a layer, and then sleep; so does a caller whose workers still have tasks. A pool of
/// more threads than the machine has cores sleeps at once, and a worker that comes too late for a
/// loop is not waited for.
///
/// Work that is split by tasks gives the same bits for any number of threads as long as a task's
/// result depends on its number alone, which is how every loop of nibble is written.
class ThreadPool {
 public:
  /// `threads` counts the caller; 0 takes as many as the machine has cores.
  explicit ThreadPool(int threads = 0) {
    if (threads < 0 || threads > 1024) fail("threads: expected 0 to 1024, found ", threads);
    const auto cores = static_cast<int>(std::thread::hardware_concurrency());  // 0: not known
    size_ = std::max(threads == 0 ? cores : threads, 1);
    if (cores > 0 && size_ > cores) spin_time_ = {};
    workers_.reserve(static_cast<std::size_t>(size_ - 1));
    try {
      for (int worker = 1; worker < size_; ++worker) {
        workers_.emplace_back([this, worker] { serve(worker); });
      }
    } catch (...) {
      stop();
      throw;
    }
  }

  ~ThreadPool() { stop(); }

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  [[nodiscard]] int size() const noexcept { return size_; }

  /// Calls body(task, worker) once for each task in [0, tasks), with worker in [0, size()), and
  /// returns when all are done. The first exception is rethrown; tasks not begun by then are left
  /// out. A body must not run another loop here. Loops that several threads run take turns, except
  /// those of one task, and all loops of a pool of one thread: such a loop is run by its caller at
  /// once, as worker 0, beside whatever the pool is doing.
  void run(Index tasks, FunctionRef<void(Index task, int worker)> body) {
    assert(!in_loop());
    if (tasks <= 0) return;
    if (size_ == 1 || tasks == 1) {
      for (Index task = 0; task < tasks; ++task) body(task, 0);
      return;
    }
    const std::lock_guard turn(turn_);
    runner_ = std::this_thread::get_id();
    Loop loop{body, tasks, 0, nullptr};
    open(loop);
    work(loop, 0);
    close();
    runner_ = std::thread::id();
    if (loop.error) std::rethrow_exception(loop.error);
  }

 private:
  struct Loop {
    FunctionRef<void(Index, int)> body;
    Index tasks;
    std::atomic<Index> next;
    std::exception_ptr error;
  };

  /// Of the one loop that may be open, in one word: its number, whether workers may still join it,
  /// and how many are in it.
  struct Gate {
    static constexpr std::uint64_t one_worker = 1;
    static constexpr std::uint64_t open = 1U << 16;
    static constexpr std::uint64_t one_loop = 1U << 17;
    std::uint64_t word;

    [[nodiscard]] std::uint64_t loop() const noexcept { return word / one_loop; }
    [[nodiscard]] bool is_open() const noexcept { return (word & open) != 0; }
    [[nodiscard]] std::uint64_t workers() const noexcept { return word % open; }
  };

  /// Whether a loop of this pool that takes turns is running on the calling thread.
  [[nodiscard]] bool in_loop() const noexcept {
    const std::thread::id self = std::this_thread::get_id();
    return runner_.load() == self ||
           std::ranges::find(workers_, self, &std::thread::get_id) != workers_.end();
  }

  [[nodiscard]] Gate gate() const noexcept { return {gate_.load(std::memory_order_acquire)}; }

  void open(Loop& loop) {
    int sleeping = 0;
    {
      const std::lock_guard lock(mutex_);
      loop_ = &loop;
      const std::uint64_t next = gate().loop() + 1;
      gate_.store(next * Gate::one_loop + Gate::open, std::memory_order_release);
      sleeping = sleeping_;
    }
    for (Index i = std::min(Index{sleeping}, loop.tasks - 1); i > 0; --i) wake_.notify_one();
  }

  /// Lets no more workers in and waits for those that are inside.
  void close() {
    gate_.fetch_and(~Gate::open, std::memory_order_acq_rel);
    const auto empty = [this] { return gate().workers() == 0; };
    if (spin_until(empty, spin_time_)) return;
    std::unique_lock lock(mutex_);
    done_.wait(lock, empty);
  }

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  void work(Loop& loop, int worker) noexcept {
    for (;;) {
      const Index task = loop.next.fetch_add(1, std::memory_order_relaxed);
      if (task >= loop.tasks) return;
      try {
        loop.body(task, worker);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!loop.error) loop.error = std::current_exception();
        loop.next.store(loop.tasks, std::memory_order_relaxed);
      }
    }
  }

  /// A worker's life; `seen` is the last loop that it was in.
  void serve(int worker) {
    std::uint64_t seen = 0;
    const auto called = [&] {
      const Gate now = gate();
      return stopping_.load(std::memory_order_relaxed) || (now.is_open() && now.loop() != seen);
    };
    for (;;) {
      if (!spin_until(called, spin_time_)) {
        std::unique_lock lock(mutex_);
        ++sleeping_;
        wake_.wait(lock, called);
        --sleeping_;
      }
      if (stopping_.load(std::memory_order_relaxed)) return;
      if (!enter(seen)) continue;
      work(*loop_, worker);
      leave();
    }
  }

  /// Joins a loop other than `seen`, which becomes that loop; false where none is open any more.
  bool enter(std::uint64_t& seen) noexcept {
    Gate now = gate();
    while (now.is_open() && now.loop() != seen) {
      if (gate_.compare_exchange_weak(now.word, now.word + Gate::one_worker,
                                      std::memory_order_acq_rel, std::memory_order_acquire)) {
        seen = now.loop();
        return true;
      }
    }
    return false;
  }

  void leave() {
    const Gate before{gate_.fetch_sub(Gate::one_worker, std::memory_order_acq_rel)};
    if (before.is_open() || before.workers() > 1) return;
    const std::lock_guard lock(mutex_);  // the caller is either before its check or asleep
    done_.notify_one();
  }

  int size_ = 1;
  std::chrono::microseconds spin_time_{30};
  std::vector<std::thread> workers_;
  std::mutex turn_;                      // held by the thread whose loop is run
  std::atomic<std::thread::id> runner_;  // that thread
  std::atomic<std::uint64_t> gate_ = 0;  // a Gate's word
  std::atomic<bool> stopping_ = false;
  Loop* loop_ = nullptr;  // published by gate_
  std::mutex mutex_;      // guards who goes to sleep, and a loop's error
  std::condition_variable wake_;
  std::condition_variable done_;
  int sleeping_ = 0;
};

static_assert(Executor<ThreadPool>);

}  // namespace nibble
