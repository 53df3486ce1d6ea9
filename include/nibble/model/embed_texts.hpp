// Texts to vectors by a decoder: the hidden states of a text's tokens, averaged or the last one.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/matrix.hpp>
#include <nibble/core/progress.hpp>
#include <nibble/model/decoder.hpp>
#include <nibble/text/tokenizer.hpp>

namespace nibble {

/// What of the hidden states of a text's tokens becomes its vector.
enum class Pooling : std::uint8_t { Mean, Last };
inline constexpr std::array<std::string_view, 2> pooling_names{"mean", "last"};

/// How texts become vectors.
struct EmbedTextsOptions {
  Pooling pooling = Pooling::Mean;
  bool normalize = false;  // to length 1
  /// Tokens of a text that count, its first ones; 0, or beyond the context: as many as that has.
  Index max_tokens = 0;
  KvType kv = KvType::Float16;
};

namespace embed_texts_detail {

/// Tokens of a forward pass: of several sequences, or a part of a longer one.
inline constexpr Index pass_tokens = 1024;

using Sequences = std::span<const std::vector<TokenId>>;

/// The first sequences that a pass takes in, and the pages of cache that they need.
struct Batch {
  std::size_t count = 0;
  Index pages = 0;
};

[[nodiscard]] inline Batch next_batch(Sequences sequences) {
  Batch batch;
  Index tokens = 0;
  for (const auto& sequence : sequences) {
    const auto size = static_cast<Index>(sequence.size());
    if (batch.count > 0 && tokens + size > pass_tokens) break;
    ++batch.count;
    tokens += size;
    batch.pages += divide_up(size, page_positions);
  }
  return batch;
}

/// Adds the hidden states of a batch that pooling asks for to sums, [batch][hidden_size].
inline void add_states(const Decoder& decoder, Sequences batch, Pooling pooling,
                       const std::shared_ptr<KvPool>& pages, Workspace& workspace,
                       std::vector<Eigen::RowVectorXd>& sums) {
  std::vector<Session> sessions;
  Index longest = 0;
  for (const auto& sequence : batch) {
    sessions.emplace_back(pages);
    longest = std::max(longest, static_cast<Index>(sequence.size()));
  }
  for (Index first = 0; first < longest; first += pass_tokens) {
    std::vector<Slice> slices;
    std::vector<std::size_t> owners;  // of the slices
    for (std::size_t i = 0; i < batch.size(); ++i) {
      const auto left =
          std::span(batch[i]).subspan(std::min(static_cast<std::size_t>(first), batch[i].size()));
      if (left.empty()) continue;
      const auto tokens = left.first(std::min(left.size(), std::size_t{pass_tokens}));
      const bool ends = tokens.size() == left.size();
      slices.push_back({&sessions[i], tokens,
                        pooling == Pooling::Mean ? LogitRows::All
                        : ends                   ? LogitRows::Last
                                                 : LogitRows::None});
      owners.push_back(i);
    }
    const Eigen::Map<const Matrix> states = decoder.hidden_states(slices, workspace);
    std::vector<Index> begins{0};  // of the slices' rows
    for (const Slice& slice : slices) {
      const Index rows = slice.logits == LogitRows::All    ? static_cast<Index>(slice.tokens.size())
                         : slice.logits == LogitRows::Last ? 1
                                                           : 0;
      begins.push_back(begins.back() + rows);
    }
    workspace.pool().run(static_cast<Index>(slices.size()), [&](Index s, int) {
      const auto slice = static_cast<std::size_t>(s);
      for (Index row = begins[slice]; row < begins[slice + 1]; ++row) {
        sums[owners[slice]] += states.row(row).cast<double>();
      }
    });
  }
}

}  // namespace embed_texts_detail

/// The vectors of some token sequences, [sequences][hidden_size]: hidden states after the final
/// norm, the last token's or their mean over all tokens, taken in float64. Without tokens, zero.
/// Short sequences share forward passes, long ones take several; a vector has the same bits
/// whatever sequences are beside it, and on any number of threads. Throws Error for a negative
/// max_tokens, an id outside the vocabulary, or a vector that is not finite; Cancelled.
[[nodiscard]] inline Matrix embed_sequences(const Decoder& decoder,
                                            std::span<const std::vector<TokenId>> sequences,
                                            Workspace& workspace,
                                            const EmbedTextsOptions& options = {},
                                            const Progress& progress = {}) {
  using namespace embed_texts_detail;
  const Index context = decoder.config().max_positions, size = decoder.config().hidden_size;
  if (options.max_tokens < 0) {
    fail("max_tokens: expected 0 or more, found ", options.max_tokens);
  }
  const Index most = options.max_tokens == 0 ? context : std::min(options.max_tokens, context);
  std::vector<std::vector<TokenId>> cut(sequences.begin(), sequences.end());
  for (auto& sequence : cut) {
    if (static_cast<Index>(sequence.size()) > most) {
      sequence.resize(static_cast<std::size_t>(most));
    }
  }
  const auto count = static_cast<Index>(cut.size());
  Index pages = 1;
  for (Sequences rest = cut; !rest.empty(); rest = rest.subspan(next_batch(rest).count)) {
    pages = std::max(pages, next_batch(rest).pages);
  }
  const auto pool = decoder.make_pool(page_positions, options.kv, pages);
  Matrix vectors(count, size);
  Index done = 0;
  for (Sequences rest = cut; !rest.empty();) {
    report(progress, "embed", done, count);
    const Sequences batch = rest.first(next_batch(rest).count);
    std::vector<Eigen::RowVectorXd> sums(batch.size(), Eigen::RowVectorXd::Zero(size));
    add_states(decoder, batch, options.pooling, pool, workspace, sums);
    for (std::size_t i = 0; i < batch.size(); ++i, ++done) {
      const bool mean = options.pooling == Pooling::Mean && !batch[i].empty();
      if (mean) sums[i] /= static_cast<double>(batch[i].size());
      const double norm = sums[i].norm();
      if (!std::isfinite(norm)) fail("text ", done, ": its hidden states are not finite");
      if (options.normalize && norm > 0) sums[i] /= norm;
      vectors.row(done) = sums[i].cast<float>();
    }
    rest = rest.subspan(batch.size());
  }
  report(progress, "embed", count, count);
  return vectors;
}

/// The vectors of some texts, [texts][hidden_size], of tokens with those that the tokenizer puts
/// around a text, as sentence-transformers takes them. See `embed_sequences`; throws Error, naming
/// the text by its number, for one that is not UTF-8 too.
[[nodiscard]] inline Matrix embed_texts(const Decoder& decoder, const Tokenizer& tokenizer,
                                        std::span<const std::string_view> texts,
                                        Workspace& workspace, const EmbedTextsOptions& options = {},
                                        const Progress& progress = {}) {
  std::vector<std::vector<TokenId>> sequences(texts.size());
  workspace.pool().run(static_cast<Index>(texts.size()), [&](Index text, int) {
    const auto i = static_cast<std::size_t>(text);
    try {
      sequences[i] = tokenizer.encode(texts[i]);
    } catch (const Error& error) {
      fail("text ", text, ": ", error.what());
    }
  });
  return embed_sequences(decoder, sequences, workspace, options, progress);
}

}  // namespace nibble
