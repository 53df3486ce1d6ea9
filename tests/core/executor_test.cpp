#include "nibble/core/executor.hpp"

#include <stdexcept>
#include <vector>

#include <nibble/core/thread_pool.hpp>

#include "support/catch.hpp"

using nibble::Executor;
using nibble::ExecutorRef;
using nibble::FunctionRef;
using nibble::Index;

namespace {

struct Serial {
  int loops = 0;
  [[nodiscard]] short size() const { return 1; }
  void run(Index tasks, FunctionRef<void(Index, int)> body) {
    ++loops;
    for (Index task = 0; task < tasks; ++task) body(task, 0);
  }
};

/// Takes the body as a template, and is const.
struct Generic {
  [[nodiscard]] int size() const { return 1; }
  template <class Body>
  void run(Index tasks, Body&& body) const {
    for (Index task = 0; task < tasks; ++task) body(task, 0);
  }
};

struct NoSize {
  void run(Index, FunctionRef<void(Index, int)>) {}
};
struct OneArgument {
  [[nodiscard]] int size() const { return 1; }
  void run(FunctionRef<void(Index, int)>) {}
};

static_assert(Executor<nibble::ThreadPool> && Executor<Serial> && Executor<const Generic>);
static_assert(Executor<ExecutorRef>);
static_assert(!Executor<const Serial> && !Executor<NoSize> && !Executor<OneArgument>);
static_assert(!std::is_constructible_v<ExecutorRef, Serial>);  // it would dangle

Index sum_of_tasks(ExecutorRef executor) {
  std::vector<Index> sums(static_cast<std::size_t>(executor.size()), 0);
  executor.run(10, [&](Index task, int worker) { sums[static_cast<std::size_t>(worker)] += task; });
  Index sum = 0;
  for (const Index each : sums) sum += each;
  return sum;
}

}  // namespace

TEST_CASE("an executor is passed by reference", "[executor]") {
  Serial serial;
  CHECK(sum_of_tasks(serial) == 45);
  CHECK(sum_of_tasks(serial) == 45);
  CHECK(serial.loops == 2);
  const Generic generic;
  CHECK(sum_of_tasks(generic) == 45);
  nibble::ThreadPool pool(3);
  const ExecutorRef ref = pool;
  CHECK(ref.size() == 3);
  CHECK(sum_of_tasks(ref) == 45);
}

TEST_CASE("an executor's exceptions pass through", "[executor]") {
  Serial serial;
  const ExecutorRef ref = serial;
  const auto throws = [](Index task, int) {
    if (task == 1) throw std::runtime_error("task 1");
  };
  CHECK_THROWS_WITH(ref.run(2, throws), "task 1");
}
