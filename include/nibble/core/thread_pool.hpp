// A pool of threads that belongs to the caller and splits one loop at a time.
#pragma once

#include <atomic>
#include <cassert>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include <nibble/core/checked.hpp>
#include <nibble/core/error.hpp>
#include <nibble/core/function_ref.hpp>

namespace nibble {

/// Runs loops on `size()` threads: the calling one and size() - 1 that sleep in between.
///
/// Work that is split by tasks gives the same bits for any number of threads as long as a task's
/// result depends on its number alone, which is how every loop of nibble is written.
class ThreadPool {
 public:
  /// `threads` counts the caller; 0 takes as many as the machine has cores.
  explicit ThreadPool(int threads = 0) {
    if (threads < 0 || threads > 1024) fail("threads: expected 0 to 1024, found ", threads);
    if (threads == 0) threads = static_cast<int>(std::thread::hardware_concurrency());
    size_ = threads < 1 ? 1 : threads;
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
  /// out. Loops of several threads wait for each other; a body must not run another loop here.
  void run(Index tasks, FunctionRef<void(Index task, int worker)> body) {
    if (tasks <= 0) return;
    if (size_ == 1 || tasks == 1) {
      for (Index task = 0; task < tasks; ++task) body(task, 0);
      return;
    }
    assert(runner_.load() != std::this_thread::get_id());
    const std::lock_guard turn(turn_);
    runner_ = std::this_thread::get_id();
    Loop loop{body, tasks, 0, nullptr};
    {
      const std::lock_guard lock(mutex_);
      loop_ = &loop;
      busy_ = size_ - 1;
      ++generation_;
    }
    wake_.notify_all();
    work(loop, 0);
    {
      std::unique_lock lock(mutex_);
      done_.wait(lock, [this] { return busy_ == 0; });
      loop_ = nullptr;
    }
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

  void serve(int worker) {
    std::uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return stopping_ || generation_ != seen; });
      if (stopping_) return;
      seen = generation_;
      Loop& loop = *loop_;
      lock.unlock();
      work(loop, worker);
      lock.lock();
      if (--busy_ == 0) done_.notify_one();
    }
  }

  int size_ = 1;
  std::vector<std::thread> workers_;
  std::mutex turn_;                      // held by the thread whose loop is run
  std::atomic<std::thread::id> runner_;  // that thread
  std::mutex mutex_;                     // guards what follows, and a loop's error
  std::condition_variable wake_;
  std::condition_variable done_;
  Loop* loop_ = nullptr;
  std::uint64_t generation_ = 0;
  int busy_ = 0;
  bool stopping_ = false;
};

}  // namespace nibble
