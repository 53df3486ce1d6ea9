// One sequence in the making: its cache and its position.
#pragma once

#include <memory>
#include <utility>

#include <nibble/nn/kv_cache.hpp>

namespace nibble {

/// The state of one sequence that a Decoder continues. Not to be used by two threads at a time.
class Session {
 public:
  /// Draws its pages from `pool`, which must have the decoder's layout.
  explicit Session(std::shared_ptr<KvPool> pool) : cache_(std::move(pool)) {}

  /// Tokens that were taken in so far: the position of the next one.
  [[nodiscard]] Index position() const noexcept { return cache_.length(); }

  /// Forgets all tokens from `position` on, so that the sequence goes on from there.
  void truncate(Index position) noexcept { cache_.truncate(position); }

  [[nodiscard]] KvCache& cache() noexcept { return cache_; }
  [[nodiscard]] const KvCache& cache() const noexcept { return cache_; }

 private:
  KvCache cache_;
};

}  // namespace nibble
