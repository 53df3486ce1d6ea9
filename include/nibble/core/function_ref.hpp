// A borrowed callable: two words, no allocation, valid while the callable lives.
#pragma once

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

namespace nibble {

template <class Signature>
class FunctionRef;

/// Refers to a callable of the given signature without owning it.
template <class Result, class... Arguments>
class FunctionRef<Result(Arguments...)> {
 public:
  template <class F>
  requires(!std::same_as<std::remove_cvref_t<F>, FunctionRef> &&
           std::is_object_v<std::remove_reference_t<F>> &&
           std::is_invocable_r_v<Result, F&, Arguments...>) FunctionRef(F&& callable)
  noexcept  // implicit on purpose: call sites pass lambdas
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(callable)))),
        call_([](void* object, Arguments... arguments) -> Result {
          auto& callee = *static_cast<std::remove_reference_t<F>*>(object);
          if constexpr (std::is_void_v<Result>) {
            callee(std::forward<Arguments>(arguments)...);
          } else {
            return callee(std::forward<Arguments>(arguments)...);
          }
        }) {}

  Result operator()(Arguments... arguments) const {
    return call_(object_, std::forward<Arguments>(arguments)...);
  }

 private:
  void* object_;
  Result (*call_)(void*, Arguments...);
};

}  // namespace nibble
