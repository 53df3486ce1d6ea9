#include "nibble/core/reporting_executor.hpp"

#include <stdexcept>
#include <vector>

#include <nibble/core/thread_pool.hpp>

#include "support/catch.hpp"

using nibble::ExecutorRef;
using nibble::Index;
using nibble::ReportingExecutor;
using nibble::ThreadPool;

TEST_CASE("a reporting executor runs every task once and reports between parts") {
  ThreadPool pool(2);
  for (const Index tasks : {0, 1, 32, 33, 100}) {
    Index reports = 0;
    const auto between = [&] { ++reports; };
    const ReportingExecutor executor(pool, between);
    std::vector<int> runs(static_cast<std::size_t>(tasks), 0);
    ExecutorRef(executor).run(tasks, [&](Index task, int worker) {
      ++runs[static_cast<std::size_t>(task)];
      if (worker < 0 || worker >= executor.size()) throw std::logic_error("worker");
    });
    CHECK(runs == std::vector<int>(static_cast<std::size_t>(tasks), 1));
    CHECK(reports == (tasks == 0 ? 0 : (tasks - 1) / 32));
  }
}

TEST_CASE("what is thrown between parts ends the loop") {
  ThreadPool pool(1);
  const auto between = [] { throw std::runtime_error("stop"); };
  const ReportingExecutor executor(pool, between);
  Index runs = 0;
  CHECK_THROWS_AS(executor.run(40, [&](Index, int) { ++runs; }), std::runtime_error);
  CHECK(runs == 16);
}
