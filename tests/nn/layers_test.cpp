// The layers one by one, against float64.

#include <cmath>

#include <nibble/core/thread_pool.hpp>
#include <nibble/dispatch/dispatch.hpp>
#include <nibble/nn/attention_layer.hpp>
#include <nibble/nn/embedding.hpp>
#include <nibble/nn/feed_forward.hpp>
#include <nibble/quantize/round_to_nearest.hpp>

#include "io/io_test_support.hpp"
#include "support/random.hpp"

namespace nibble {
namespace {

using namespace test;
using Exact = Eigen::MatrixXd;  // [tokens][size]

Matrix random_weights(test::Random& random, Index rows, Index cols) {
  const std::vector<float> values = random_floats(random, rows * cols);
  return view_matrix(values.data(), rows, cols);
}

AnyMatrix packed(const Matrix& weights, std::string_view format, ThreadPool& pool) {
  return round_to_nearest(weight_source("w", weights), make_format(format), pool);
}

Exact as_exact(const AnyMatrix& matrix) {
  return matrix.dequantize().cast<double>();
}

/// Sums of up to 300 products of numbers around 1, in another order: 300 / 2^24 of the terms' sum.
constexpr double tolerance = 300 * 0x1p-24 * 300;

double largest_difference(const Matrix& found, const Exact& expected) {
  REQUIRE(found.allFinite());
  return (found.cast<double>() - expected).cwiseAbs().maxCoeff();
}

TEST_CASE("a linear layer multiplies, adds its bias, and leaves the rest of its rows alone") {
  test::Random random(1);
  ThreadPool pool(2);
  const Execution execution{dispatch::best(), pool, ActivationMode::Float};
  for (const Index outputs : {1, 16, 37, 300}) {
    for (const Index inputs : {1, 24, 130, 300}) {
      const Matrix weights = random_weights(random, outputs, inputs);
      const std::vector<float> bias = random_floats(random, outputs);
      for (const Index tokens : {1, 3, 16, 37}) {
        CAPTURE(outputs, inputs, tokens);
        const Index stride = inputs + 5;
        const Matrix input = random_weights(random, tokens, stride);
        const Exact product =
            input.leftCols(inputs).cast<double>() * weights.cast<double>().transpose();
        const Linear plain(packed(weights, "float32", pool));
        const Linear biased(packed(weights, "float32", pool), bias);
        CHECK(plain.inputs() == inputs);
        CHECK(plain.outputs() == outputs);
        Matrix output = Matrix::Constant(tokens, outputs + 3, 7);
        LinearInput shared;
        shared.assign(input.data(), tokens, inputs, stride);
        plain.forward(shared, execution, output.data(), outputs + 3);
        CHECK(largest_difference(output.leftCols(outputs), product) < tolerance);
        CHECK((output.rightCols(3).array() == 7).all());
        biased.forward(shared, execution, output.data(), outputs + 3);
        const Eigen::RowVectorXd offsets =
            Eigen::Map<const Eigen::RowVectorXf>(bias.data(), outputs).cast<double>();
        CHECK(largest_difference(output.leftCols(outputs), product.rowwise() + offsets) <
              tolerance);
      }
    }
  }
}

TEST_CASE("a linear layer's int8 inputs are as close as their steps") {
  test::Random random(2);
  ThreadPool pool(1);
  const Matrix weights = random_weights(random, 40, 200);
  const Matrix input = random_weights(random, 5, 200);
  for (const char* format : {"int8", "int4", "zero-one-int8", "float32"}) {
    CAPTURE(format);
    const Linear linear(packed(weights, format, pool));
    const Exact codes = as_exact(linear.weight());
    LinearInput shared;
    shared.assign(input.data(), 5, 200, 200);
    Matrix output(5, 40);
    linear.forward(shared, {dispatch::best(), pool}, output.data(), 40);
    const Exact product = input.cast<double>() * codes.transpose();
    // An input is off by half a step of max / 127 at most.
    const Exact bound = input.cwiseAbs().rowwise().maxCoeff().cast<double>() / 254 *
                        codes.cwiseAbs().rowwise().sum().transpose();
    const Exact difference = (output.cast<double>() - product).cwiseAbs();
    CHECK((difference.array() <= 1.001 * bound.array() + 1e-3).all());
    const bool is_float = std::string_view(format) == "float32";
    CHECK((difference.maxCoeff() < tolerance) == is_float);
  }
}

TEST_CASE("inputs that are assigned anew are packed anew") {
  test::Random random(3);
  ThreadPool pool(1);
  const Linear linear(packed(random_weights(random, 20, 30), "int8", pool));
  const Matrix first = random_weights(random, 4, 30), second = random_weights(random, 2, 30);
  const auto run = [&](LinearInput& shared, const Matrix& input) {
    shared.assign(input.data(), input.rows(), 30, 30);
    Matrix output(input.rows(), 20);
    linear.forward(shared, {dispatch::best(), pool}, output.data(), 20);
    return output;
  };
  LinearInput used, fresh;
  run(used, first);
  CHECK(run(used, second) == run(fresh, second));
  used.assign(nullptr, 0, 30, 30);
  linear.forward(used, {dispatch::best(), pool}, nullptr, 20);  // no tokens, nothing to write
}

TEST_CASE("a bias of another size is refused") {
  test::Random random(4);
  ThreadPool pool(1);
  const AnyMatrix weight = packed(random_weights(random, 20, 30), "float32", pool);
  REQUIRE_ERROR(Linear(weight, std::vector<float>(30)), "a bias of 30 numbers for 20 outputs");
}

TEST_CASE("activation modes are spelled and parsed") {
  CHECK(parse_activation_mode("float") == ActivationMode::Float);
  CHECK(parse_activation_mode("native") == ActivationMode::Native);
  CHECK(activation_mode_name(ActivationMode::Float) == "float");
  REQUIRE_ERROR(parse_activation_mode("int8"), "unknown activations 'int8'; expected native or");
}

TEST_CASE("an RMS norm divides by the root of the mean square and weighs") {
  test::Random random(5);
  ThreadPool pool(2);
  const Execution execution{dispatch::best(), pool};
  for (const Index size : {1, 10, 16, 33, 300}) {
    CAPTURE(size);
    const std::vector<float> weight = random_floats(random, size);
    const RmsNorm norm(weight, 0.01F);
    CHECK(norm.size() == size);
    const Matrix input = random_weights(random, 37, size);
    Matrix output(37, size);
    norm.forward(input.data(), 37, execution, output.data());
    Exact expected = input.cast<double>();
    for (Index row = 0; row < 37; ++row) {
      const double mean = expected.row(row).squaredNorm() / static_cast<double>(size);
      expected.row(row) /= std::sqrt(mean + static_cast<double>(0.01F));
      for (Index i = 0; i < size; ++i) {
        expected(row, i) *= static_cast<double>(weight[static_cast<std::size_t>(i)]);
      }
    }
    CHECK(largest_difference(output, expected) < 1e-5);
    Matrix sum = random_weights(random, 37, size);
    const Matrix addend = input - sum;
    const Matrix added = sum + addend;
    Matrix of_sum(37, size);
    norm.add_and_forward(sum.data(), addend.data(), 37, execution, of_sum.data());
    CHECK(sum == added);
    norm.forward(added.data(), 37, execution, output.data());
    CHECK(of_sum == output);
    norm.forward(input.data(), 37, execution, output.data());
    Matrix alone = input.row(20);
    norm.forward(alone.data(), execution.kernels, alone.data());  // in place
    CHECK(alone == output.row(20));
  }
}

TEST_CASE("an embedding is a row of its matrix, in every format") {
  test::Random random(6);
  ThreadPool pool(1);
  const Matrix weights = random_weights(random, 53, 24);
  for (const std::string_view format : Formats::names) {
    const Embedding embedding(packed(weights, format, pool));
    CHECK(embedding.vocabulary() == 53);
    CHECK(embedding.size() == 24);
    const Matrix all = embedding.weight().dequantize();
    Matrix row(1, 24);
    for (const std::int32_t id : {0, 17, 52}) {
      embedding.lookup(id, row.data());
      CHECK(row == all.row(id));
    }
  }
}

TEST_CASE("a feed-forward layer gates, multiplies and projects") {
  test::Random random(7);
  ThreadPool pool(2);
  const Execution execution{dispatch::best(), pool, ActivationMode::Float};
  const float shrink = 0.2F;
  const Matrix gate = shrink * random_weights(random, 37, 24),
               up = shrink * random_weights(random, 37, 24),
               down = shrink * random_weights(random, 24, 37);
  const FeedForward layer(Linear(packed(gate, "float32", pool)),
                          Linear(packed(up, "float32", pool)),
                          Linear(packed(down, "float32", pool)));
  FeedForward::Scratch scratch;
  for (const Index tokens : {40, 1, 17}) {
    const Matrix input = random_weights(random, tokens, 24);
    const Exact x = input.cast<double>();
    const Exact gated = x * gate.cast<double>().transpose();
    const Exact hidden =
        (gated.array() / (1 + (-gated.array()).exp()) * (x * up.cast<double>().transpose()).array())
            .matrix();
    LinearInput shared;
    shared.assign(input.data(), tokens, 24, 24);
    Matrix output(tokens, 24);
    layer.forward(shared, execution, scratch, output.data());
    CHECK(largest_difference(output, hidden * down.cast<double>().transpose()) < 1e-4);
  }
}

TEST_CASE("an attention layer mixes the values of what a window shows, in several sequences") {
  test::Random random(8);
  ThreadPool pool(2);
  const Execution execution{dispatch::best(), pool, ActivationMode::Float};
  const Index hidden = 12, dim = 6;
  const AttentionShape shape{.heads = 4, .kv_heads = 2, .head_dim = dim, .window = 70};
  const auto linear = [&](Index outputs, Index inputs) {
    return Linear(packed(0.5F * random_weights(random, outputs, inputs), "float32", pool));
  };
  const AttentionLayer layer(shape, linear(24, hidden), linear(12, hidden), linear(12, hidden),
                             linear(hidden, 24), std::nullopt, std::nullopt);
  const Exact q_weight = as_exact(layer.q_proj().weight()),
              k_weight = as_exact(layer.k_proj().weight()),
              v_weight = as_exact(layer.v_proj().weight()),
              o_weight = as_exact(layer.o_proj().weight());
  const KvPageLayout pages{KvType::Float32, 3, 2, dim};
  const auto kv_pool = std::make_shared<KvPool>(pages, 10 * pages.page_bytes());
  const Rope rope(RopeConfig{.kind = RopeKind::unscaled, .theta = 100}, dim);

  const Index lengths[] = {130, 20};
  std::vector<KvCache> caches;
  std::vector<TokenPlace> places;
  std::vector<float> angles(static_cast<std::size_t>(150 * dim));
  for (const Index length : lengths) {
    caches.emplace_back(kv_pool);
    caches.back().reserve(length);
  }
  for (std::size_t sequence = 0; sequence < 2; ++sequence) {
    for (Index position = 0; position < lengths[sequence]; ++position) {
      float* cosines = angles.data() + static_cast<Index>(places.size()) * dim;
      rope.angles(position, cosines, cosines + dim / 2);
      places.push_back({&caches[sequence], position, cosines, cosines + dim / 2});
    }
  }
  const Matrix input = random_weights(random, 150, hidden);
  LinearInput shared;
  shared.assign(input.data(), 150, hidden, hidden);
  Matrix output(150, hidden);
  AttentionLayer::Scratch scratch;
  layer.forward(shared, places, 1, execution, scratch, output.data());

  const Exact x = input.cast<double>();
  const auto turned = [&](const Exact& rows, Index row, Index head) {
    Eigen::RowVectorXd vector = rows.row(row).segment(head * dim, dim);
    const TokenPlace& place = places[static_cast<std::size_t>(row)];
    for (Index i = 0; i < dim / 2; ++i) {
      const double c = place.cosines[i], s = place.sines[i];
      const double low = vector(i), high = vector(i + dim / 2);
      vector(i) = low * c - high * s;
      vector(i + dim / 2) = high * c + low * s;
    }
    return vector;
  };
  const Exact queries = x * q_weight.transpose(), keys = x * k_weight.transpose(),
              values = x * v_weight.transpose();
  Exact mixed = Exact::Zero(150, 24);
  Index start = 0;
  for (const Index length : lengths) {
    for (Index i = start; i < start + length; ++i) {
      for (Index head = 0; head < 4; ++head) {
        double total = 0;
        Eigen::RowVectorXd sum = Eigen::RowVectorXd::Zero(dim);
        for (Index j = std::max(start, i - 69); j <= i; ++j) {
          const double score = turned(queries, i, head).dot(turned(keys, j, head / 2));
          const double weight = std::exp(score / std::sqrt(static_cast<double>(dim)));
          total += weight;
          sum += weight * values.row(j).segment(head / 2 * dim, dim);
        }
        mixed.row(i).segment(head * dim, dim) = sum / total;
      }
    }
    start += length;
  }
  CHECK(largest_difference(output, mixed * o_weight.transpose()) < 1e-4);

  // The last token of a sequence once more, alone, by threads that outnumber the KV heads.
  for (const int threads : {1, 3, 7}) {
    CAPTURE(threads);
    ThreadPool many(threads);
    Matrix again(1, hidden);
    shared.assign(input.row(129).data(), 1, hidden, hidden);
    layer.forward(shared, {&places[129], 1}, 1, {dispatch::best(), many, ActivationMode::Float},
                  scratch, again.data());
    CHECK(again == output.row(129));
  }
}

TEST_CASE("layers whose sizes do not go together are refused") {
  test::Random random(9);
  ThreadPool pool(1);
  const auto linear = [&](Index outputs, Index inputs) {
    return Linear(packed(random_weights(random, outputs, inputs), "float32", pool));
  };
  REQUIRE_ERROR(FeedForward(linear(37, 24), linear(38, 24), linear(24, 37)),
                "up_proj is [38][24], expected [37][24]");
  REQUIRE_ERROR(FeedForward(linear(37, 24), linear(37, 24), linear(24, 36)),
                "down_proj is [24][36], expected [24][37]");
  const auto attention = [&](const AttentionShape& shape, Linear v_proj, Index norm) {
    return AttentionLayer(shape, linear(24, 12), linear(12, 12), std::move(v_proj), linear(12, 24),
                          RmsNorm(std::vector<float>(static_cast<std::size_t>(norm)), 0.1F),
                          std::nullopt);
  };
  const AttentionShape shape{.heads = 4, .kv_heads = 2, .head_dim = 6};
  attention(shape, linear(12, 12), 6);
  REQUIRE_ERROR(attention(shape, linear(18, 12), 6), "v_proj is [18][12], expected [12][12]");
  REQUIRE_ERROR(attention(shape, linear(12, 12), 5), "a norm of 5 numbers for heads of 6");
  REQUIRE_ERROR(attention({.heads = 4, .kv_heads = 3, .head_dim = 6}, linear(12, 12), 6),
                "4 heads of 6, 3 of keys and values");
}

}  // namespace
}  // namespace nibble
