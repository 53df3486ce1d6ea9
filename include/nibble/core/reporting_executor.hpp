// An executor that lets others have a say between the parts of a long loop.
#pragma once

#include <algorithm>

#include <nibble/core/executor.hpp>

namespace nibble {

/// Runs loops on another executor, sixteen tasks for each worker at a time, and calls `between` on
/// the calling thread in between. What `between` throws ends the loop: so something that takes long
/// but knows only its executor can be cancelled.
class ReportingExecutor {
 public:
  /// Borrows `between`.
  ReportingExecutor(ExecutorRef executor, FunctionRef<void()> between)
      : executor_(executor), between_(between) {}

  [[nodiscard]] int size() const { return executor_.size(); }

  void run(Index tasks, FunctionRef<void(Index task, int worker)> body) const {
    const Index part = Index{16} * size();
    for (Index first = 0; first < tasks; first += part) {
      if (first > 0) between_();
      executor_.run(std::min(part, tasks - first),
                    [&](Index task, int worker) { body(first + task, worker); });
    }
  }

 private:
  ExecutorRef executor_;
  FunctionRef<void()> between_;
};

static_assert(Executor<const ReportingExecutor>);

}  // namespace nibble
