#include "nibble/search/static_embedding.hpp"

#include <string>
#include <string_view>
#include <vector>

#include <nibble/core/thread_pool.hpp>
#include <nibble/io/safetensors_writer.hpp>

#include "io/io_test_support.hpp"
#include "support/catch.hpp"
#include "support/fixtures.hpp"
#include "support/random.hpp"

using namespace nibble;

namespace {

std::filesystem::path shipped_tokenizer() {
  return test::source_path("examples/models/novella-5m/tokenizer.json");
}

/// A folder with a table of `dims` columns of the type of `T`, for novella-5m's tokenizer.
template <FloatElement T>
std::vector<float> write_model(const std::filesystem::path& folder, const std::string& config,
                               Index dims, const char* tensor, DType dtype) {
  constexpr Index vocabulary = 4096;
  test::Random random(41);
  std::vector<float> table = test::random_floats(random, vocabulary * dims);
  std::vector<T> stored;
  for (float& value : table) {
    stored.push_back(from_float<T>(value));
    value = to_float(stored.back());
  }
  std::filesystem::create_directory(folder);
  const TensorSource source =
      tensor_source({tensor, dtype, {vocabulary, dims}}, std::as_bytes(std::span(stored)));
  write_safetensors(folder / "model.safetensors", {&source, 1});
  std::filesystem::create_symlink(shipped_tokenizer(), folder / "tokenizer.json");
  write_text_file(folder / "config.json", config);
  return table;
}

}  // namespace

TEST_CASE("vectors are those of the reference", "[static_embedding]") {
  NIBBLE_REQUIRE_FIXTURES(fixtures);
  const auto json = read_json_file(fixtures / "expected/novella-embed.json");
  const auto texts = json_value<std::vector<std::string>>(json, "texts");
  const auto file = SafetensorsFile::open(fixtures / "expected/novella-embed.safetensors");
  const auto expected = read_floats(file.at("embeddings"));
  const auto model = StaticEmbedding::load(fixtures / "models/novella-embed");
  CHECK(model.dims() == 1024);
  CHECK(model.matryoshka_dims().size() == 5);

  ThreadPool pool(2);
  const Matrix vectors =
      model.embed(std::vector<std::string_view>(texts.begin(), texts.end()), pool);
  REQUIRE(vectors.size() == static_cast<Index>(expected.size()));
  for (Index i = 0; i < vectors.rows(); ++i) {
    const auto row = view_matrix(expected.data() + i * 1024, 1, 1024);
    CHECK((vectors.row(i) - row).norm() <= 1e-5F * row.norm());
  }
}

TEST_CASE("a vector is the mean of its tokens' vectors", "[static_embedding]") {
  const test::TemporaryDirectory folder;
  const Index dims = 37;
  std::vector<float> table;
  const std::string config = R"({"skip_token_ids": [0, 300], "normalize": true})";
  SECTION("F32") {
    table = write_model<float>(folder / "m", config, dims, "embeddings", DType::F32);
  }
  SECTION("F16") {
    table = write_model<Float16>(folder / "m", config, dims, "embedding.weight", DType::F16);
  }
  SECTION("BF16") {
    table = write_model<BFloat16>(folder / "m", config, dims, "embedding.weight", DType::BF16);
  }
  const auto model = StaticEmbedding::load(folder / "m");
  std::vector<std::string> texts{"", "The captain", "a b c d"};
  for (int i = 0; i < 100; ++i) texts.push_back("number " + std::to_string(i));
  const std::vector<std::string_view> views(texts.begin(), texts.end());

  ThreadPool one(1), three(3);
  const EmbedOptions plain{.dims = 20, .normalize = false};
  const Matrix vectors = model.embed(views, one, plain);
  CHECK(model.embed(views, three, plain) == vectors);
  CHECK(vectors.row(0).isZero(0));
  for (std::size_t t = 1; t < texts.size(); ++t) {
    std::vector<double> mean(20, 0.0);
    double count = 0;
    for (const TokenId id : model.tokenizer().encode(texts[t], false)) {
      if (id == 0 || id == 300) continue;
      ++count;
      for (std::size_t i = 0; i < mean.size(); ++i) {
        mean[i] += table[static_cast<std::size_t>(id * dims) + i];
      }
    }
    for (std::size_t i = 0; i < mean.size(); ++i) {
      CHECK(vectors(static_cast<Index>(t), static_cast<Index>(i)) ==
            static_cast<float>(mean[i] / count));
    }
  }
  // By default the whole vector, of length 1.
  const Matrix unit = model.embed(views, one);
  CHECK(unit.cols() == dims);
  CHECK(unit.row(0).isZero(0));
  CHECK(unit.row(1).norm() == Approx(1).margin(1e-6));
}

TEST_CASE("what is wrong with a model or a text is named", "[static_embedding]") {
  const test::TemporaryDirectory folder;
  ThreadPool pool(1);
  const auto load_with = [&](const std::string& config) {
    std::filesystem::remove_all(folder / "m");
    write_model<BFloat16>(folder / "m", config, 8, "embedding.weight", DType::BF16);
    return StaticEmbedding::load(folder / "m");
  };
  REQUIRE_ERROR(load_with(R"({"pooling": "cls"})"), "'pooling': \"cls\" is not supported");
  REQUIRE_ERROR(load_with(R"({"hidden_size": 9})"), "'hidden_size': is 9, the table has 8");
  REQUIRE_ERROR(load_with(R"({"matryoshka_dims": [4, 9]})"), "expected 1 to 8, found 9");
  REQUIRE_ERROR(load_with(R"({"normalize": 1})"), "'normalize'");

  const auto model = load_with("{}");
  std::filesystem::remove(folder / "m" / "config.json");
  CHECK(StaticEmbedding::load(folder / "m").dims() == 8);  // all in it is optional
  const std::vector<std::string_view> texts{"fine", "\xff"};
  REQUIRE_ERROR(model.embed(texts, pool), "text 1: text: invalid UTF-8");
  REQUIRE_ERROR(model.embed({}, pool, {.dims = 9, .normalize = {}}), "dims: expected 1 to 8");
  std::vector<float> vector(8);
  const std::vector<TokenId> beyond{4096};
  REQUIRE_ERROR(model.embed_tokens(beyond, {}, vector), "token id 4096 is beyond the table");

  std::filesystem::remove_all(folder / "m");
  write_model<float>(folder / "m", "{}", 8, "table", DType::F32);
  REQUIRE_ERROR(StaticEmbedding::load(folder / "m"), "holds neither a tensor");
  REQUIRE_ERROR(StaticEmbedding::load(folder / "nowhere"), "found nothing");
}
