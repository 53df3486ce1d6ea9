// The keys and values of past positions: pages from a pool with a budget, and tables of them.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include <nibble/core/aligned_buffer.hpp>
#include <nibble/core/error.hpp>
#include <nibble/kernels/kv_page.hpp>

namespace nibble {

/// Pages of 64 positions of all layers, at most as many as a budget allows. Safe to use from
/// several threads; outlives the caches that draw from it.
class KvPool {
 public:
  /// `budget` in bytes bounds the memory of the pages that exist at a time; it is taken as pages
  /// are first needed, as many at a time as fill huge pages best, and given back with the pool.
  /// Throws Error for a layout without layers, heads or elements, and where not even one
  /// page fits.
  KvPool(const KvPageLayout& layout, std::size_t budget) : layout_(layout) {
    const auto refuse = [&](const char* why) {
      fail("a KV page of ", layout.layers, " layers of ", layout.heads, " heads of ",
           layout.head_dim, " ", why);
    };
    if (layout.layers < 1 || layout.heads < 1 || layout.head_dim < 1) refuse("holds nothing");
    if (!layout.fits_in_memory()) refuse("does not fit in memory");
    page_limit_ = budget / layout.page_bytes();
    if (page_limit_ == 0) {
      fail("KV budget of ", budget, " bytes: a page of ", page_positions, " positions takes ",
           layout.page_bytes());
    }
  }

  KvPool(const KvPool&) = delete;
  KvPool& operator=(const KvPool&) = delete;

  [[nodiscard]] const KvPageLayout& layout() const noexcept { return layout_; }
  /// Pages that may exist at a time.
  [[nodiscard]] std::size_t page_limit() const noexcept { return page_limit_; }

  /// A page with any content. Throws Error where the budget is used up.
  [[nodiscard]] std::byte* acquire() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) {
      if (page_count_ == page_limit_) {
        fail("the KV budget of ", page_limit_, " pages of ", page_positions,
             " positions is used up");
      }
      const std::size_t pages = std::min(slab_pages(), page_limit_ - page_count_);
      if (slabs_.size() == slabs_.capacity()) slabs_.reserve(2 * slabs_.size() + 1);
      free_.reserve(page_count_ + pages);  // so that release never allocates
      std::byte* slab =
          slabs_.emplace_back(AlignedBuffer::exact(pages * layout_.page_bytes())).data();
      page_count_ += pages;
      for (std::size_t i = pages; i > 0; --i) {
        free_.push_back(slab + (i - 1) * layout_.page_bytes());
      }
    }
    std::byte* page = free_.back();
    free_.pop_back();
    return page;
  }

  void release(std::byte* page) noexcept {
    const std::lock_guard lock(mutex_);
    free_.push_back(page);
  }

 private:
  /// Pages that come together: about 8 to 24 MiB, of which the least share lies beyond the last
  /// whole huge page, where every 4 KiB would cost attention a lookup of their address.
  [[nodiscard]] std::size_t slab_pages() const noexcept {
    const std::size_t bytes = layout_.page_bytes();
    const std::size_t fewest = divide_up(4 * huge_page, bytes);
    const std::size_t most = std::max(12 * huge_page / bytes, fewest);
    const auto share_beyond = [&](std::size_t pages) {
      const std::size_t size = pages * bytes;
      return static_cast<double>(size % huge_page) / static_cast<double>(size);
    };
    std::size_t best = fewest;
    for (std::size_t pages = fewest; pages <= most; ++pages) {
      if (share_beyond(pages) < share_beyond(best)) best = pages;
    }
    return best;
  }

  KvPageLayout layout_;
  std::size_t page_limit_ = 0;
  std::mutex mutex_;
  std::size_t page_count_ = 0;  // that exist
  std::vector<AlignedBuffer> slabs_;
  std::vector<std::byte*> free_;
};

/// The pages of one sequence.
class KvCache {
 public:
  explicit KvCache(std::shared_ptr<KvPool> pool) : pool_(std::move(pool)) {}
  ~KvCache() { truncate(0); }
  KvCache(KvCache&& other) noexcept
      : pool_(std::move(other.pool_)),
        pages_(std::exchange(other.pages_, {})),
        length_(std::exchange(other.length_, 0)) {}
  KvCache& operator=(KvCache&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(pages_, other.pages_);
    std::swap(length_, other.length_);
    return *this;
  }

  [[nodiscard]] const KvPageLayout& layout() const noexcept { return pool_->layout(); }
  /// Positions that are stored.
  [[nodiscard]] Index length() const noexcept { return length_; }
  /// By position / 64.
  [[nodiscard]] const std::byte* const* pages() const noexcept { return pages_.data(); }
  [[nodiscard]] std::byte* page_of(Index position) noexcept {
    return pages_[static_cast<std::size_t>(position / page_positions)];
  }

  /// Makes sure of pages for positions below `positions`; on Error (budget) nothing has changed.
  void reserve(Index positions) {
    const auto needed = static_cast<std::size_t>(divide_up(positions, page_positions));
    const std::size_t before = pages_.size();
    pages_.reserve(needed);
    try {
      while (pages_.size() < needed) pages_.push_back(pool_->acquire());
    } catch (...) {
      drop_pages(before);
      throw;
    }
  }

  /// Declares positions below `positions`, for which pages are reserved, to be stored.
  void set_length(Index positions) noexcept {
    assert(positions >= 0 && positions <= static_cast<Index>(pages_.size()) * page_positions);
    length_ = positions;
  }

  /// Forgets positions from `positions` on and gives back the pages that hold no other.
  void truncate(Index positions) noexcept {
    length_ = std::clamp(positions, Index{0}, length_);
    drop_pages(static_cast<std::size_t>(divide_up(length_, page_positions)));
  }

 private:
  void drop_pages(std::size_t keep) noexcept {
    while (pages_.size() > keep) {
      pool_->release(pages_.back());
      pages_.pop_back();
    }
  }

  std::shared_ptr<KvPool> pool_;
  std::vector<std::byte*> pages_;
  Index length_ = 0;
};

}  // namespace nibble
