// Speed beside the machine's limits: every sample lies between two readings of them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <nibble/core/function_ref.hpp>
#include <nibble/core/random.hpp>
#include <nibble/model/decoder.hpp>
#include <nibble/model/generate.hpp>

#include "common/machine_limits.hpp"
#include "common/median.hpp"
#include "common/report.hpp"

namespace nibble::example {

/// The machine's limits, read a few times; 0 where there is none.
struct LimitReadings {
  std::vector<double> read;                                        // bytes per second
  std::array<std::vector<double>, arithmetic_names.size()> peaks;  // MACs per second

  void add(const LimitReadings& other) {
    read.insert(read.end(), other.read.begin(), other.read.end());
    for (std::size_t i = 0; i < peaks.size(); ++i) {
      peaks[i].insert(peaks[i].end(), other.peaks[i].begin(), other.peaks[i].end());
    }
  }
};

[[nodiscard]] inline LimitReadings read_limits(const MachineLimits& machine) {
  LimitReadings readings;
  for (int pass = 0; pass < 3; ++pass) {
    readings.read.push_back(machine.read_bandwidth());
    for (std::size_t i = 0; i < readings.peaks.size(); ++i) {
      readings.peaks[i].push_back(machine.peak(static_cast<Arithmetic>(i)));
    }
  }
  return readings;
}

/// A run of a phase, and the medians of the limits just before and after it.
struct SpeedSample {
  double seconds = 0;
  double read = 0;   // bytes per second
  double peak = 0;   // MACs per second of the phase's arithmetic; 0 where there is none
  double tiles = 0;  // the same on matrix registers, or `peak` where there are none for it
};

/// A prompt, or some tokens decoded: what a run of it does, and how long the runs took.
struct Phase {
  Index tokens = 0;
  double bytes = 0;  // of packed weights that it reads
  double macs = 0;   // of the Linear layers
  Arithmetic arithmetic = Arithmetic::Float32;
  std::vector<SpeedSample> samples;

  /// The median of `figure` over the samples; not a number where there are none.
  template <class Figure>
  [[nodiscard]] double median_of(Figure figure) const {
    std::vector<double> values;
    for (const SpeedSample& sample : samples) values.push_back(figure(sample));
    return median(std::move(values));
  }
  [[nodiscard]] double per_second(double amount) const {
    return median_of([=](const SpeedSample& sample) { return amount / sample.seconds; });
  }
  [[nodiscard]] double share_of_read() const {
    return median_of([&](const SpeedSample& s) { return bytes / s.seconds / s.read; });
  }
  /// Infinite where the arithmetic has no peak.
  [[nodiscard]] double share_of_peak() const {
    return median_of([&](const SpeedSample& s) { return macs / s.seconds / s.peak; });
  }
  [[nodiscard]] double share_of_tiles() const {
    return median_of([&](const SpeedSample& s) { return macs / s.seconds / s.tiles; });
  }
};

/// What a pass does with all Linear layers of a decoder.
struct LinearWork {
  double block_bytes = 0;    // of packed weights of the blocks
  double block_weights = 0;  // one MAC each for a token
  double head_bytes = 0;
  double head_weights = 0;

  explicit LinearWork(const Decoder& decoder) {
    const auto weights_of = [](const Linear& linear) {
      return static_cast<double>(linear.outputs()) * static_cast<double>(linear.inputs());
    };
    const auto bytes_of = [](const Linear& linear) {
      return static_cast<double>(linear.weight().bytes().size());
    };
    for (const DecoderLayer& layer : decoder.layers()) {
      const AttentionLayer& attention = layer.attention;
      const FeedForward& feed_forward = layer.feed_forward;
      for (const Linear* linear :
           {&attention.q_proj(), &attention.k_proj(), &attention.v_proj(), &attention.o_proj(),
            &feed_forward.gate_proj(), &feed_forward.up_proj(), &feed_forward.down_proj()}) {
        block_bytes += bytes_of(*linear);
        block_weights += weights_of(*linear);
      }
    }
    head_bytes = bytes_of(decoder.head());
    head_weights = weights_of(decoder.head());
  }
};

/// How much is run.
struct BenchSizes {
  Index prompt = 512;   // tokens of a prompt; 0: no such phase
  Index generate = 64;  // tokens decoded of each sequence; 0: no such phase
  Index context = 32;   // tokens before those
  Index batch = 1;      // sequences decoded together
};

/// A decoder with its sessions, ready to run either phase again and again.
class BenchSubject {
 public:
  /// Takes in the tokens before those that are decoded, and runs each phase once to warm up.
  BenchSubject(const Decoder& decoder, const BenchSizes& sizes, KvType kv, Workspace& workspace)
      : decoder_(&decoder), sizes_(sizes), workspace_(&workspace) {
    Random random(1);
    const Index longest = std::max(sizes.prompt, sizes.context + sizes.generate);
    for (Index i = 0; i < longest; ++i) {
      const auto choices = static_cast<std::uint64_t>(decoder.config().vocab_size);
      tokens_.push_back(static_cast<TokenId>(random.next() % choices));
    }
    const LinearWork work(decoder);
    const Arithmetic arithmetic = arithmetic_of(decoder, workspace);
    if (sizes.prompt > 0) {
      prompt_session_.emplace(decoder.make_session(sizes.prompt, kv));
      const auto chunks = static_cast<double>(divide_up(sizes.prompt, chunk));
      prompt_ = {sizes.prompt,
                 chunks * work.block_bytes + work.head_bytes,
                 static_cast<double>(sizes.prompt) * work.block_weights + work.head_weights,
                 arithmetic,
                 {}};
      run_prompt();
    }
    if (sizes.generate > 0) {
      const auto pool = decoder.make_pool(sizes.context + sizes.generate, kv, sizes.batch);
      for (Index i = 0; i < sizes.batch; ++i) sessions_.emplace_back(pool);
      for (Session& session : sessions_) take_in(session, sizes.context);
      const auto passes = static_cast<double>(sizes.generate);
      const auto tokens = passes * static_cast<double>(sizes.batch);
      decode_ = {sizes.generate * sizes.batch,
                 passes * (work.block_bytes + work.head_bytes),
                 tokens * (work.block_weights + work.head_weights),
                 arithmetic,
                 {}};
      decode_one();
    }
  }

  [[nodiscard]] const Decoder& decoder() const noexcept { return *decoder_; }
  [[nodiscard]] const BenchSizes& sizes() const noexcept { return sizes_; }
  [[nodiscard]] Phase& prompt() noexcept { return prompt_; }
  [[nodiscard]] const Phase& prompt() const noexcept { return prompt_; }
  [[nodiscard]] Phase& decode() noexcept { return decode_; }
  [[nodiscard]] const Phase& decode() const noexcept { return decode_; }

  void run_prompt() {
    prompt_session_->truncate(0);
    take_in(*prompt_session_, sizes_.prompt);
  }

  void run_decode() {
    for (Session& session : sessions_) session.truncate(sizes_.context);
    for (Index i = 0; i < sizes_.generate; ++i) decode_one();
  }

 private:
  static constexpr Index chunk = GenerateOptions{}.prompt_chunk;

  /// In what the products of the blocks' widest layers are computed.
  [[nodiscard]] static Arithmetic arithmetic_of(const Decoder& decoder, Workspace& workspace) {
    const Linear& linear = decoder.layers().front().feed_forward.down_proj();
    const Execution execution{decoder.kernels(), workspace.pool(), workspace.activations()};
    switch (execution.kind_for(linear.weight().format_index())) {
      case Activations::Int8:
        return Arithmetic::Int8;
      case Activations::BFloat16:
        return Arithmetic::BFloat16;
      case Activations::Float:
        break;
    }
    return Arithmetic::Float32;
  }

  [[nodiscard]] std::span<const TokenId> tokens(Index first, Index count) const {
    return std::span(tokens_).subspan(static_cast<std::size_t>(first),
                                      static_cast<std::size_t>(count));
  }

  /// Takes in the first tokens, in chunks as `generate` does; the last one gets logits.
  void take_in(Session& session, Index count) {
    for (Index first = 0; first < count; first += chunk) {
      const Index size = std::min(chunk, count - first);
      const bool last = first + size == count;
      const Slice slice{&session, tokens(first, size), last ? LogitRows::Last : LogitRows::None};
      static_cast<void>(decoder_->forward({&slice, 1}, *workspace_));
    }
  }

  /// The next token of every sequence.
  void decode_one() {
    slices_.clear();
    for (Session& session : sessions_) {
      slices_.push_back({&session, tokens(session.position(), 1), LogitRows::Last});
    }
    static_cast<void>(decoder_->forward(slices_, *workspace_));
  }

  const Decoder* decoder_;
  BenchSizes sizes_;
  Workspace* workspace_;
  std::vector<TokenId> tokens_;
  std::optional<Session> prompt_session_;
  std::vector<Session> sessions_;  // that are decoded together
  std::vector<Slice> slices_;
  Phase prompt_, decode_;
};

/// Runs every phase of every subject `repeat` times, one after the other in turns, each run between
/// two readings of the limits. Returns all readings.
inline LimitReadings sample_speeds(std::span<BenchSubject> subjects, const MachineLimits& machine,
                                   Index repeat, const Progress& progress) {
  const Index total = repeat * static_cast<Index>(subjects.size());
  LimitReadings all = read_limits(machine);
  LimitReadings before = all;
  const auto sample = [&](Phase& phase, FunctionRef<void()> run) {
    if (phase.tokens == 0) return;
    const Stopwatch stopwatch;
    run();
    const double seconds = stopwatch.seconds();
    LimitReadings after = read_limits(machine);
    all.add(after);
    LimitReadings around = std::exchange(before, after);
    around.add(after);
    const auto peak_of = [&](Arithmetic arithmetic) {
      return median(around.peaks[static_cast<std::size_t>(arithmetic)]);
    };
    phase.samples.push_back({seconds, median(around.read), peak_of(phase.arithmetic),
                             peak_of(on_tiles(phase.arithmetic))});
  };
  for (Index done = 0; done < total; ++done) {
    report(progress, "sample", done, total);
    BenchSubject& subject = subjects[static_cast<std::size_t>(done) % subjects.size()];
    sample(subject.prompt(), [&] { subject.run_prompt(); });
    sample(subject.decode(), [&] { subject.run_decode(); });
  }
  report(progress, "sample", total, total);
  return all;
}

}  // namespace nibble::example
