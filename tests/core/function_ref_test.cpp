#include "nibble/core/function_ref.hpp"

#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "support/catch.hpp"

using nibble::FunctionRef;

namespace {

int call(FunctionRef<int(int)> function, int argument) {
  return function(argument);
}
int twice(int value) {
  return 2 * value;
}

}  // namespace

TEST_CASE("a FunctionRef calls what it refers to", "[function_ref]") {
  int calls = 0;
  auto count = [&calls](int value) mutable {
    ++calls;
    return value + 1;
  };
  CHECK(call(count, 4) == 5);
  CHECK(call(count, 1) == 2);
  CHECK(calls == 2);
  CHECK(call([](int value) { return -value; }, 3) == -3);
  int (*pointer)(int) = &twice;
  CHECK(call(pointer, 21) == 42);
}

TEST_CASE("a FunctionRef refers, it does not copy", "[function_ref]") {
  struct Counter {
    int calls = 0;
    void operator()() { ++calls; }
  } counter;
  const FunctionRef<void()> reference(counter);
  reference();
  const FunctionRef<void()> copy = reference;  // NOLINT: the copy is the point
  copy();
  CHECK(counter.calls == 2);
}

TEST_CASE("a FunctionRef forwards arguments that can only be moved", "[function_ref]") {
  const auto take = [](std::unique_ptr<int> value, std::string& out) {
    out = std::to_string(*value);
  };
  std::string out;
  const FunctionRef<void(std::unique_ptr<int>, std::string&)> reference(take);
  reference(std::make_unique<int>(7), out);
  CHECK(out == "7");
}

TEST_CASE("a FunctionRef without result drops the callable's", "[function_ref]") {
  int value = 0;
  const auto set = [&value](int to) { return value = to; };
  const FunctionRef<void(int)> reference(set);
  reference(9);
  CHECK(value == 9);
}

TEST_CASE("a FunctionRef takes matching callables only", "[function_ref]") {
  STATIC_REQUIRE(std::is_constructible_v<FunctionRef<int(int)>, int (*)(int)>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<FunctionRef<int(int)>, int>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<FunctionRef<int(int)>, int (*)(std::string)>);
}
