#include <nibble/model/embed_texts.hpp>

#include "io/io_test_support.hpp"
#include "support/reference_decoder.hpp"
#include "support/tiny_model.hpp"

namespace nibble {
namespace {

using namespace test;

/// Sequences of these lengths.
std::vector<std::vector<TokenId>> sequences_of(std::initializer_list<Index> lengths) {
  std::vector<std::vector<TokenId>> sequences;
  for (const Index length : lengths) {
    sequences.push_back(random_tokens(53, length, static_cast<unsigned>(length + 1)));
  }
  return sequences;
}

TEST_CASE("a vector is the pooled hidden states of plain float64 loops") {
  const TinyFolder folder;
  const ModelFolder model = folder.open();
  ThreadPool pool(2);
  const ReferenceDecoder reference(model.config(), model.tensors(), pool);
  const Decoder decoder = loaded(model, pool);
  const auto sequences = sequences_of({70, 1, 0, 33, 2, 150});
  Workspace workspace(pool, ActivationMode::Float);
  for (const Pooling pooling : {Pooling::Mean, Pooling::Last}) {
    const EmbedTextsOptions options{.pooling = pooling, .kv = KvType::Float32};
    const Matrix vectors = embed_sequences(decoder, sequences, workspace, options);
    REQUIRE(vectors.rows() == 6);
    REQUIRE(vectors.cols() == 24);
    CHECK(vectors.row(2).isZero(0));
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      if (sequences[i].empty()) continue;
      const auto states = reference.hidden_states(sequences[i]);
      ReferenceDecoder::Vector expected(24, 0);
      for (std::size_t token = pooling == Pooling::Mean ? 0 : states.size() - 1;
           token < states.size(); ++token) {
        const double share = pooling == Pooling::Mean ? static_cast<double>(states.size()) : 1.0;
        for (std::size_t d = 0; d < 24; ++d) expected[d] += states[token][d] / share;
      }
      CAPTURE(i);
      // As logits are, see decoder_test.cpp.
      CHECK(relative_distance(vectors.row(static_cast<Index>(i)), {expected}) < 1e-4);
    }
  }
}

TEST_CASE("a vector has the same bits in any batch and on any number of threads") {
  const TinyFolder folder({.patch = {{"max_position_embeddings", 3000}}});
  ThreadPool one(1), three(3);
  const Decoder decoder = loaded(folder.open(), one);
  const auto sequences = sequences_of({200, 2100, 5, 700, 64, 65, 1024, 1});
  for (const Pooling pooling : {Pooling::Mean, Pooling::Last}) {
    const EmbedTextsOptions options{.pooling = pooling, .normalize = true};
    Workspace workspace(one), other(three);
    const Matrix vectors = embed_sequences(decoder, sequences, workspace, options);
    CHECK(same_bits(embed_sequences(decoder, sequences, other, options), vectors));
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      const auto row = static_cast<Index>(i);
      CHECK(same_bits(embed_sequences(decoder, {&sequences[i], 1}, other, options),
                      vectors.row(row)));
      CHECK(vectors.row(row).norm() == Approx(1).margin(1e-6));
    }
    // A sequence that takes several passes is one sequence.
    Session session = decoder.make_session(2100);
    const Slice slice{&session, sequences[1], LogitRows::All};
    const Matrix states = decoder.hidden_states({&slice, 1}, workspace);
    REQUIRE(states.rows() == 2100);
    Eigen::RowVectorXd expected = states.row(2099).cast<double>();
    if (pooling == Pooling::Mean) {
      expected.setZero();
      for (Index token = 0; token < 2100; ++token) expected += states.row(token).cast<double>();
    }
    expected.normalize();
    CHECK((vectors.row(1).cast<double>() - expected).norm() < 1e-6);
  }
}

TEST_CASE("what is beyond the tokens that count is left out, and what is wrong is named") {
  const TinyFolder folder({.patch = {{"max_position_embeddings", 100}}});
  ThreadPool pool(1);
  const Decoder decoder = loaded(folder.open(), pool);
  Workspace workspace(pool);
  const auto sequences = sequences_of({300});
  const auto first = [&](Index count) {
    return std::vector<std::vector<TokenId>>{{sequences[0].begin(), sequences[0].begin() + count}};
  };
  CHECK(same_bits(embed_sequences(decoder, sequences, workspace),
                  embed_sequences(decoder, first(100), workspace)));
  CHECK(same_bits(embed_sequences(decoder, sequences, workspace, {.max_tokens = 7}),
                  embed_sequences(decoder, first(7), workspace)));
  CHECK(embed_sequences(decoder, {}, workspace).rows() == 0);
  REQUIRE_ERROR(embed_sequences(decoder, sequences, workspace, {.max_tokens = -1}),
                "max_tokens: expected 0 or more, found -1");
  const std::vector<std::vector<TokenId>> beyond{{1, 53}};
  REQUIRE_ERROR(embed_sequences(decoder, beyond, workspace), "token id 53 is outside");
  CHECK_THROWS_AS(embed_sequences(decoder, sequences, workspace, {},
                                  [](std::string_view, Index, Index) { return false; }),
                  Cancelled);
}

TEST_CASE("texts are embedded by their tokens") {
  ThreadPool pool(2);
  const ModelFolder model(source_path("examples/models/novella-5m"));
  const Decoder decoder = loaded(model, pool);
  const Tokenizer tokenizer = model.tokenizer();
  Workspace workspace(pool);
  const std::vector<std::string_view> texts{"The captain walked along the beach.", "", "A storm"};
  std::vector<std::vector<TokenId>> sequences;
  for (const std::string_view text : texts) sequences.push_back(tokenizer.encode(text));
  CHECK(same_bits(embed_texts(decoder, tokenizer, texts, workspace),
                  embed_sequences(decoder, sequences, workspace)));
  const std::vector<std::string_view> broken{"fine", "\xff"};
  REQUIRE_ERROR(embed_texts(decoder, tokenizer, broken, workspace), "text 1: text: invalid UTF-8");
}

}  // namespace
}  // namespace nibble
