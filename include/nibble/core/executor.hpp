// Where loops run: nibble's ThreadPool, or whatever threads the caller's program has already.
#pragma once

#include <concepts>
#include <memory>
#include <type_traits>

#include <nibble/core/checked.hpp>
#include <nibble/core/function_ref.hpp>

namespace nibble {

/// Something that runs loops.
///
/// - `size()`: how many workers there are, at least 1 and always the same
/// - `run(tasks, body)`: calls body(task, worker) once for each task in [0, tasks), with worker in
///   [0, size()) and never two calls of this loop at a time with the same worker; returns when all
///   are done and rethrows one of the exceptions that bodies threw, if any did (tasks not begun may
///   be left out)
///
/// Tasks may run in any order and on any thread: nibble's results do not depend on it. No body runs
/// another loop. nibble calls `run` on the thread that called nibble; where several threads call
/// nibble with one executor, their loops may run side by side or take turns.
template <class E>
concept Executor = requires(E& executor, Index tasks,
                            FunctionRef<void(Index task, int worker)> body) {
  { executor.size() } -> std::convertible_to<int>;
  executor.run(tasks, body);
};

/// Refers to an executor without owning it; what nibble's functions take. As cheap as a pointer.
class ExecutorRef {
 public:
  template <Executor E>
  requires(!std::same_as<std::remove_const_t<E>, ExecutorRef>) ExecutorRef(E& executor)
  noexcept  // implicit on purpose: call sites pass a pool
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(executor)))),
        size_([](void* object) { return static_cast<int>(static_cast<E*>(object)->size()); }),
        run_([](void* object, Index tasks, Body body) {
          static_cast<E*>(object)->run(tasks, body);
        }) {}

  [[nodiscard]] int size() const { return size_(object_); }
  void run(Index tasks, FunctionRef<void(Index task, int worker)> body) const {
    run_(object_, tasks, body);
  }

 private:
  using Body = FunctionRef<void(Index, int)>;
  void* object_;
  int (*size_)(void*);
  void (*run_)(void*, Index, Body);
};

}  // namespace nibble
