// Owned memory for panels, pages and packed activations: aligned, zeroed, on huge pages if large.
#pragma once

#include <cstddef>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include <nibble/core/checked.hpp>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace nibble {

/// The alignment of every panel, page and packed row, in bytes: a cache line, an AVX-512 register.
inline constexpr std::size_t alignment = 64;

/// What a huge page of the system is taken to be, in bytes.
inline constexpr std::size_t huge_page = std::size_t{2} << 20;

/// A fixed number of bytes, all zero at first. Buffers of 2 MiB and more start at a multiple of
/// that and ask the system for huge pages, which a sequential read is up to a third faster on. They
/// take up memory to the end of the last one, unless they are `exact`.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;

  /// Throws std::bad_alloc.
  explicit AlignedBuffer(std::size_t size)
      : AlignedBuffer(size, size >= huge_page ? huge_page : alignment) {}

  /// A buffer that takes up `size` bytes, rounded up to 64, and no more: what is beyond the last
  /// whole 2 MiB lies on pages of the usual size. Throws std::bad_alloc.
  [[nodiscard]] static AlignedBuffer exact(std::size_t size) { return {size, alignment}; }

  /// The other buffer is left empty.
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    data_ = std::move(other.data_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }

  [[nodiscard]] std::byte* data() noexcept { return data_.get(); }
  [[nodiscard]] const std::byte* data() const noexcept { return data_.get(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_.get(), size_}; }

  /// The bytes as an array of T, a trivial type.
  template <class T>
  [[nodiscard]] T* as() noexcept {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= alignment);
    return reinterpret_cast<T*>(data_.get());
  }

  /// Makes room for `count` numbers of type T and returns them; as `reserve`.
  template <class T>
  [[nodiscard]] T* make_room(Index count) {
    reserve(static_cast<std::size_t>(count) * sizeof(T));
    return as<T>();
  }

  /// Makes room for `size` bytes; where it has to grow, the contents are lost, and are given back
  /// first so that both are never held at once. Throws std::bad_alloc and is then empty.
  void reserve(std::size_t size) {
    if (size <= size_) return;
    *this = AlignedBuffer();
    *this = AlignedBuffer(size);
  }

 private:
  /// Takes up a multiple of `step` bytes.
  AlignedBuffer(std::size_t size, std::size_t step) : size_(size) {
    if (size == 0) return;
    if (size > static_cast<std::size_t>(std::numeric_limits<Index>::max())) throw std::bad_alloc();
    const std::size_t align = size >= huge_page ? huge_page : alignment;
    const std::size_t rounded = round_up(size, step);
    data_ = Pointer(static_cast<std::byte*>(::operator new (rounded, std::align_val_t{align})),
                    Release{align});
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (align == huge_page) {
      ::madvise(data_.get(), rounded / huge_page * huge_page, MADV_HUGEPAGE);
    }
#endif
    std::memset(data_.get(), 0, rounded);
  }

  struct Release {
    std::size_t align;
    void operator()(std::byte* data) const noexcept {
      ::operator delete (data, std::align_val_t{align});
    }
  };
  using Pointer = std::unique_ptr<std::byte, Release>;

  Pointer data_;
  std::size_t size_ = 0;
};

}  // namespace nibble
