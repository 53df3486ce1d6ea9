#include "common/machine_limits.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <span>
#include <thread>
#include <vector>

#include <nibble/core/function_ref.hpp>
#include <nibble/simd/simd.hpp>

#include "common/x86_probes.hpp"

namespace nibble::example {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The sum of what `body` returns on each of the threads, which begin at the same time; the calling
/// one is the first of them.
double sum_over_threads(int threads, FunctionRef<double(int thread)> body) {
  std::vector<double> results(static_cast<std::size_t>(threads));
  std::atomic<int> waiting{0};
  std::atomic<bool> begun{false};
  struct Helpers {
    std::vector<std::thread> threads;
    std::atomic<bool>* begun;
    ~Helpers() {
      *begun = true;
      for (std::thread& thread : threads) thread.join();
    }
  };
  {
    Helpers helpers{{}, &begun};
    for (int thread = 1; thread < threads; ++thread) {
      helpers.threads.emplace_back([&, thread] {
        ++waiting;
        while (!begun) std::this_thread::yield();
        results[static_cast<std::size_t>(thread)] = body(thread);
      });
    }
    while (waiting < threads - 1) std::this_thread::yield();
    begun = true;
    results.front() = body(0);
  }
  double sum = 0;
  for (const double result : results) sum += result;
  return sum;
}

/// Products and sums of the vectors that every CPU of the family has, three chains of them; each
/// needs the one before, so that none is moved out of the loop.
void multiply_add_generic(std::int64_t rounds) {
  using Floats = simd::Floats<simd::Generic>;
  const volatile float one = 1;  // so that nothing is computed at compile time
  const Floats x = Floats::broadcast(one);
  Floats sums[3] = {x, x, x};
  for (std::int64_t round = 0; round < rounds; ++round) {
    simd::unroll<3>([&](auto i) { sums[i] = sums[i] * x + x; });
  }
  volatile float sink = simd::reduce_sum(sums[0] + sums[1] + sums[2]);
  static_cast<void>(sink);
}

bool always() {
  return true;
}

/// The first that fits is taken.
constexpr PeakProbe peak_probes[] = {
#if defined(NIBBLE_HAS_X86_PROBES)
    {Arithmetic::Int8, "avx512", "vpdpbusd zmm", x86::has_avx512_vnni, x86::dot_int8_zmm,
     64 * x86::chains},
    {Arithmetic::BFloat16, "avx512", "vdpbf16ps zmm", x86::has_avx512_bf16, x86::dot_bfloat16_zmm,
     32 * x86::chains},
    {Arithmetic::Float32, "avx512", "vfmadd231ps zmm", x86::has_avx512, x86::fma_zmm,
     16 * x86::chains},
    {Arithmetic::Int8, "avxvnni", "vpdpbusd ymm", x86::has_avx_vnni, x86::dot_int8_ymm,
     32 * x86::chains},
    {Arithmetic::Int8, "avx2", "vpmaddubsw, vpmaddwd, vpaddd ymm", x86::has_avx2,
     x86::multiply_add_bytes_ymm, 32 * x86::chains},
    {Arithmetic::Float32, "avx", "vfmadd231ps ymm", x86::has_fma, x86::fma_ymm, 8 * x86::chains},
    {Arithmetic::Int8Tiles, "amx", "tdpbssd", always, x86::dot_int8_tiles,
     16 * 16 * 64 * x86::tile_chains},
    {Arithmetic::BFloat16Tiles, "amx", "tdpbf16ps", always, x86::dot_bfloat16_tiles,
     16 * 16 * 32 * x86::tile_chains},
#endif
    {Arithmetic::Float32, "", "plain products and sums", always, multiply_add_generic,
     3 * simd::lane_count},
};

void read_words(const std::byte* data, std::size_t size) {
  const auto* words = reinterpret_cast<const std::uint64_t*>(data);
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < size / sizeof *words; ++i) bits |= words[i];
  volatile std::uint64_t sink = bits;
  static_cast<void>(sink);
}

void read(const std::byte* data, std::size_t size) {
#if defined(NIBBLE_HAS_X86_PROBES)
  if (x86::has_avx2()) return x86::read_ymm(data, size);
#endif
  read_words(data, size);
}

}  // namespace

MachineLimits::MachineLimits(std::string_view isa, int threads) : threads_(threads) {
  for (std::size_t i = 0; i < probes_.size(); ++i) {
    const auto* probe = std::ranges::find_if(peak_probes, [&](const PeakProbe& candidate) {
      // What has tiles has the vectors of AVX-512 too.
      const bool fits =
          isa.starts_with(candidate.isa) || (isa == "amx" && candidate.isa == "avx512");
      return candidate.arithmetic == static_cast<Arithmetic>(i) && fits && candidate.supported();
    });
    if (probe != std::end(peak_probes)) probes_[i] = probe;
  }
}

std::string_view MachineLimits::instruction(Arithmetic arithmetic) const noexcept {
  const PeakProbe* probe = probes_[static_cast<std::size_t>(arithmetic)];
  return probe == nullptr ? std::string_view() : probe->instruction;
}

double MachineLimits::peak(Arithmetic arithmetic) const {
  constexpr double least_seconds = 0.03;
  constexpr std::int64_t rounds_at_once = 2000;
  const PeakProbe* probe = probes_[static_cast<std::size_t>(arithmetic)];
  if (probe == nullptr) return 0;
  return sum_over_threads(threads_, [&](int) {
    std::int64_t rounds = 0;
    double seconds = 0;
    const Clock::time_point start = Clock::now();
    for (; seconds < least_seconds; seconds = seconds_since(start)) {
      probe->run(rounds_at_once);
      rounds += rounds_at_once;
    }
    return static_cast<double>(rounds) * probe->macs / seconds;
  });
}

double MachineLimits::read_bandwidth() const {
  constexpr std::size_t unit = 4096;
  const std::size_t part = memory / unit / static_cast<std::size_t>(threads_) * unit;
  return sum_over_threads(threads_, [&](int thread) {
    const Clock::time_point start = Clock::now();
    read(buffer_.data() + static_cast<std::size_t>(thread) * part, part);
    return static_cast<double>(part) / seconds_since(start);
  });
}

}  // namespace nibble::example
