#include <nibble/model/decoder.hpp>

#include "io/io_test_support.hpp"
#include "support/reference_decoder.hpp"
#include "support/tiny_model.hpp"

namespace nibble {
namespace {

using namespace test;
using nlohmann::json;

/// A sum of n float products is off by at most about n / 2^24 of its terms' sizes. Sums here have
/// up to 53 terms (3e-6), a dozen follow one another, and what they add to has the logits' size or
/// more: 1e-4 leaves room for the growth in between and is far below what a mistake makes.
constexpr double tolerance = 1e-4;

void check_against_reference(const json& patch, Index tokens = 100, unsigned seed = 1) {
  INFO(patch.dump());
  const TinyFolder folder({.patch = patch, .seed = seed});
  const ModelFolder model = folder.open();
  ThreadPool pool(2);
  const ReferenceDecoder reference(model.config(), model.tensors(), pool);
  const Decoder decoder = loaded(model, pool);
  const std::vector<TokenId> ids = random_tokens(model.config().vocab_size, tokens, seed);
  CHECK(relative_distance(logits_of(decoder, ids, pool, exact_run), reference.logits(ids)) <
        tolerance);
}

TEST_CASE("the decoder agrees with plain float64 loops for every kind of rotary embedding") {
  check_against_reference(json::object());
  check_against_reference({{"rope_theta", 500.0}});
  check_against_reference({{"rope_scaling", {{"rope_type", "linear"}, {"factor", 4.0}}}});
  check_against_reference({{"rope_scaling",
                            {{"rope_type", "llama3"},
                             {"factor", 8.0},
                             {"low_freq_factor", 1.0},
                             {"high_freq_factor", 4.0},
                             {"original_max_position_embeddings", 64}}},
                           {"head_dim", 32}});
}

TEST_CASE("the decoder agrees with plain float64 loops for biases, norms and tied heads") {
  check_against_reference({{"attention_bias", true}});
  check_against_reference({{"mlp_bias", true}});
  check_against_reference({{"attention_bias", true}, {"mlp_bias", true}});
  check_against_reference({{"tie_word_embeddings", true}});
  check_against_reference({{"model_type", "qwen2"}});
  check_against_reference({{"model_type", "qwen3"}});
  check_against_reference(
      {{"model_type", "qwen3"}, {"attention_bias", true}, {"tie_word_embeddings", true}});
}

TEST_CASE("the decoder agrees with plain float64 loops for sliding windows") {
  // Less than a page of the cache, a page, more than a page, more than the sequence.
  for (const int window : {1, 7, 63, 64, 65, 100, 200}) {
    check_against_reference({{"model_type", "mistral"}, {"sliding_window", window}}, 150);
  }
  check_against_reference({{"model_type", "qwen2"},
                           {"use_sliding_window", true},
                           {"sliding_window", 20},
                           {"max_window_layers", 1}});
  check_against_reference({{"model_type", "qwen3"},
                           {"use_sliding_window", true},
                           {"sliding_window", 9},
                           {"layer_types", {"sliding_attention", "full_attention"}}});
}

TEST_CASE("the decoder agrees with plain float64 loops for odd sizes") {
  const auto sizes = [](int hidden, int intermediate, int layers, int heads, int kv_heads,
                        int head_dim, int vocab) {
    return json{{"hidden_size", hidden},
                {"intermediate_size", intermediate},
                {"num_hidden_layers", layers},
                {"num_attention_heads", heads},
                {"num_key_value_heads", kv_heads},
                {"head_dim", head_dim},
                {"vocab_size", vocab}};
  };
  check_against_reference(sizes(1, 1, 1, 1, 1, 2, 2));
  check_against_reference(sizes(16, 16, 1, 1, 1, 16, 16));
  check_against_reference(sizes(17, 31, 3, 3, 1, 6, 19));
  check_against_reference(sizes(33, 5, 1, 6, 3, 34, 300));
  check_against_reference(sizes(130, 259, 2, 8, 8, 18, 65), 70);
  check_against_reference(sizes(24, 37, 2, 7, 1, 66, 53), 70);
}

TEST_CASE("a model that mixes formats layer by layer agrees with its dequantized weights") {
  const TinyFolder folder({.patch = {{"hidden_size", 70}, {"intermediate_size", 150}}});
  const ModelFolder model = folder.open();
  const auto rule = [](const char* tensors, const char* format, const FormatOptions& options = {}) {
    return RecipeRule{tensors, false, RoundToNearest{}, make_format(format, options)};
  };
  const Recipe recipe{{rule("model.layers.0.self_attn.q_proj.weight", "int8"),
                       rule("model.layers.0.self_attn.*", "int4", {.group_size = 32}),
                       {"model.layers.0.mlp.gate_proj.weight", true, {}, {}},
                       rule("model.layers.0.mlp.*", "int3", {.group_size = 64, .asymmetric = true}),
                       rule("model.layers.1.self_attn.v_proj.weight", "float16"),
                       rule("model.layers.1.mlp.down_proj.weight", "int2", {.group_size = 32}),
                       rule("model.layers.1.*", "zero-one-int8"),
                       rule("lm_head.weight", "bfloat16"),
                       rule("model.embed_tokens.weight", "int8", {.group_size = 32})}};
  ThreadPool pool(2);
  const Decoder decoder = quantized(model, recipe, pool);
  const auto name_of = [](const Linear& linear) {
    return describe_format(linear.weight().format());
  };
  CHECK(name_of(decoder.layers()[0].attention.q_proj()) == "int8");
  CHECK(name_of(decoder.layers()[0].attention.o_proj()) == "int4 g32");
  CHECK(name_of(decoder.layers()[0].feed_forward.gate_proj()) == "float32");
  CHECK(name_of(decoder.layers()[0].feed_forward.up_proj()) == "int3 g64 asymmetric");
  CHECK(name_of(decoder.layers()[1].attention.v_proj()) == "float16");
  CHECK(name_of(decoder.layers()[1].feed_forward.down_proj()) == "int2 g32");
  CHECK(name_of(decoder.layers()[1].feed_forward.up_proj()) == "zero-one-int8");
  CHECK(name_of(decoder.head()) == "bfloat16");
  CHECK(describe_format(decoder.embedding().weight().format()) == "int8 g32");

  const QuantizedTensors tensors(model.float_tensors(), recipe);
  const ReferenceDecoder reference(model.config(), tensors, pool);
  const std::vector<TokenId> ids = random_tokens(model.config().vocab_size, 80);
  CHECK(relative_distance(logits_of(decoder, ids, pool, exact_run), reference.logits(ids)) <
        tolerance);
}

TEST_CASE("a tied head shares the bytes of the embedding, quantized or not") {
  const TinyFolder folder({.patch = {{"tie_word_embeddings", true}}});
  const ModelFolder model = folder.open();
  ThreadPool pool(1);
  const Decoder plain = loaded(model, pool);
  CHECK(plain.head().weight().bytes().data() == plain.embedding().weight().bytes().data());
  const Recipe recipe{
      {{"model.embed_tokens.weight", false, RoundToNearest{}, make_format("int8")}}};
  const Decoder packed = quantized(model, recipe, pool);
  CHECK(describe_format(packed.head().weight().format()) == "int8");
  CHECK(packed.head().weight().bytes().data() == packed.embedding().weight().bytes().data());
  const ReferenceDecoder reference(model.config(), QuantizedTensors(model.float_tensors(), recipe),
                                   pool);
  const std::vector<TokenId> ids = random_tokens(53, 40);
  CHECK(relative_distance(logits_of(packed, ids, pool, exact_run), reference.logits(ids)) <
        tolerance);
}

TEST_CASE("logits come for the rows that were asked for, in the order of the batch") {
  const TinyFolder folder;
  ThreadPool pool(1);
  const Decoder decoder = loaded(folder.open(), pool);
  const std::vector<TokenId> ids = random_tokens(53, 12);
  const Matrix all = logits_of(decoder, ids, pool);
  Session first = decoder.make_session(12), second = decoder.make_session(12),
          third = decoder.make_session(12);
  Workspace workspace(pool);
  CHECK(decoder.forward({}, workspace).rows() == 0);
  const std::vector<Slice> batch{{&first, ids, LogitRows::Last},
                                 {&second, std::span(ids).first(5), LogitRows::None},
                                 {&third, std::span(ids).first(3), LogitRows::All}};
  const Matrix logits = decoder.forward(batch, workspace);
  REQUIRE(logits.rows() == 4);
  CHECK(same_bits(logits.row(0), all.row(11)));
  CHECK(same_bits(logits.bottomRows(3), all.topRows(3)));
  CHECK(first.position() == 12);
  CHECK(second.position() == 5);
  CHECK(third.position() == 3);
  const std::vector<Slice> silent{{&second, std::span(ids).subspan(5), LogitRows::None}};
  CHECK(decoder.forward(silent, workspace).rows() == 0);
  CHECK(second.position() == 12);
}

// ---- what forward refuses -----------------------------------------------------------------------

TEST_CASE("a refused batch leaves every session as it was") {
  const TinyFolder folder({.patch = {{"max_position_embeddings", 200}}});
  ThreadPool pool(1);
  const Decoder decoder = loaded(folder.open(), pool);
  const TinyFolder wider({.patch = {{"head_dim", 12}}});
  const Decoder other = loaded(wider.open(), pool);
  const std::vector<TokenId> ids = random_tokens(53, 200);
  const auto some = [&](std::size_t count) { return std::span<const TokenId>(ids).first(count); };
  const auto from = [&](std::size_t first, std::size_t count) {
    return std::span<const TokenId>(ids).subspan(first, count);
  };
  Workspace workspace(pool);
  const std::shared_ptr<KvPool> pages = decoder.make_pool(64, KvType::Float16, 3);
  Session a(pages), b(pages), stranger = other.make_session(64);
  const auto forward = [&](std::vector<Slice> batch) {
    return Matrix(decoder.forward(batch, workspace));
  };
  forward({{&a, some(40)}, {&b, some(60)}});

  const TokenId negative[] = {3, -1}, beyond[] = {53}, largest[] = {2147483647};
  REQUIRE_ERROR(forward({{&b, from(60, 1)}, {&a, {}}}), "slice 1 of the batch has no tokens");
  REQUIRE_ERROR(forward({{&a, negative}}), "token id -1 is outside the vocabulary of 53");
  REQUIRE_ERROR(forward({{&b, from(60, 1)}, {&a, beyond}}), "token id 53 is outside");
  REQUIRE_ERROR(forward({{&a, largest}}), "token id 2147483647 is outside");
  REQUIRE_ERROR(forward({{&a, from(40, 1)}, {&b, from(60, 1)}, {&a, from(41, 1)}}),
                "slices 0 and 2 of the batch have the same session");
  REQUIRE_ERROR(forward({{&a, from(40, 1)}, {&stranger, some(1)}}),
                "slice 1 of the batch: its session was made for another model");
  const std::vector<TokenId> endless(161, 5);
  REQUIRE_ERROR(forward({{&a, endless}}),
                "a sequence of 201 tokens is longer than the model's context of 200");
  // Three pages in all: a and b hold one each; together they would need two more, one by one.
  REQUIRE_ERROR(forward({{&a, from(40, 30)}, {&b, from(60, 10)}}),
                "the KV budget of 3 pages of 64 positions is used up");
  REQUIRE_ERROR(forward({{&b, from(60, 140)}}), "is used up");

  CHECK(a.position() == 40);
  CHECK(b.position() == 60);
  const Matrix logits = forward({{&a, from(40, 30)}, {&b, from(60, 4)}});
  CHECK(same_bits(logits.row(0), logits_of(decoder, some(70), pool).row(69)));
  CHECK(same_bits(logits.row(1), logits_of(decoder, some(64), pool).row(63)));
}

TEST_CASE("a configuration or tensors that contradict themselves are refused") {
  const TinyFolder folder;
  const ModelFolder model = folder.open();
  ThreadPool pool(1);
  const auto build = [&](const std::function<void(ModelConfig&)>& edit) {
    ModelConfig config = model.config();
    edit(config);
    return decoder_of(config, model.tensors(), pool);
  };
  CHECK_NOTHROW(build([](ModelConfig&) {}));
  REQUIRE_ERROR(build([](ModelConfig& c) { c.kv_heads = 0; }), "kv_heads");
  REQUIRE_ERROR(build([](ModelConfig& c) { c.kv_heads = 3; }), "kv_heads");
  REQUIRE_ERROR(build([](ModelConfig& c) { c.head_dim = 9; }), "head_dim");
  REQUIRE_ERROR(build([](ModelConfig& c) { c.head_dim = max_head_dim + 2; }), "head_dim");
  REQUIRE_ERROR(build([](ModelConfig& c) { c.sliding_windows.clear(); }), "sliding_windows");

  /// Delivers something else than was asked for.
  struct Wrong : TensorProvider {
    const TensorProvider* inner = nullptr;
    bool matrices = false;
    AnyFormat format(const TensorSpec& spec) const override { return inner->format(spec); }
    AnyMatrix matrix(const TensorSpec& spec, ExecutorRef threads) const override {
      if (!matrices) return inner->matrix(spec, threads);
      return MatrixBuilder<Float32Format>({}, spec.rows, spec.cols + 1).finish();
    }
    std::vector<float> vector(const TensorSpec& spec) const override {
      return std::vector<float>(static_cast<std::size_t>(spec.cols + 1));
    }
  };
  Wrong wrong;
  wrong.inner = &model.tensors();
  REQUIRE_ERROR(decoder_of(model.config(), wrong, pool),
                "tensor 'model.layers.0.input_layernorm.weight': expected 24 numbers, found 25");
  wrong.matrices = true;
  REQUIRE_ERROR(decoder_of(model.config(), wrong, pool),
                "tensor 'model.embed_tokens.weight': expected 53 x 24, found 53 x 25");
}

TEST_CASE("a pool's size is bounded, whatever is asked for") {
  const TinyFolder folder;
  ThreadPool pool(1);
  const Decoder decoder = loaded(folder.open(), pool);
  CHECK(decoder.make_pool(-5)->page_limit() == 1);
  CHECK(decoder.make_pool(65, KvType::Float32, 3)->page_limit() == 6);
  // Nothing is longer than the context, 256.
  CHECK(decoder.make_pool(std::numeric_limits<Index>::max())->page_limit() == 4);
  REQUIRE_ERROR(decoder.make_pool(256, KvType::Float16, std::numeric_limits<Index>::max()),
                "does not fit in memory");
}

}  // namespace
}  // namespace nibble
