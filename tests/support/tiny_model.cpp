#include "support/tiny_model.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>

#include <nibble/dispatch/dispatch.hpp>

#include "support/random.hpp"

namespace nibble::test {

namespace {

/// Weights that keep activations around 1 and logits apart.
std::vector<float> random_values(const TensorSpec& spec, Random& random) {
  const Index count = spec.rows * spec.cols;
  if (spec.role == TensorRole::Vector) {
    std::vector<float> values = random_floats(random, count, 0.2F);
    if (spec.name.find("norm") != std::string::npos) {
      for (float& value : values) value += 1;
    }
    return values;
  }
  const float deviation =
      spec.role == TensorRole::Embedding ? 1.0F : 1.5F / std::sqrt(static_cast<float>(spec.cols));
  return random_floats(random, count, deviation);
}

std::vector<std::byte> stored(std::span<const float> values, DType dtype) {
  std::vector<std::byte> bytes;
  const auto append = [&](const auto& value) {
    const auto raw = std::as_bytes(std::span(&value, 1));
    bytes.insert(bytes.end(), raw.begin(), raw.end());
  };
  for (const float value : values) {
    if (dtype == DType::BF16) {
      append(to_bfloat16(value));
    } else if (dtype == DType::F16) {
      append(to_float16(value));
    } else {
      append(value);
    }
  }
  return bytes;
}

}  // namespace

void write_tiny_model(const std::filesystem::path& folder, const TinyModel& model) {
  nlohmann::json config = {{"model_type", "llama"},
                           {"hidden_size", 24},
                           {"intermediate_size", 37},
                           {"num_hidden_layers", 2},
                           {"num_attention_heads", 4},
                           {"num_key_value_heads", 2},
                           {"head_dim", 10},
                           {"vocab_size", 53},
                           {"max_position_embeddings", 256},
                           {"rms_norm_eps", 1e-5},
                           {"tie_word_embeddings", false},
                           {"bos_token_id", 0},
                           {"eos_token_id", 1}};
  config.merge_patch(model.patch);
  std::filesystem::create_directories(folder);
  write_text_file(folder / "config.json", config.dump(1));

  Random random(model.seed);
  std::vector<TensorLayout> layouts;
  std::vector<std::vector<std::byte>> contents;
  for (const TensorSpec& spec : tensor_specs(parse_model_config(config, "config.json"))) {
    TensorLayout layout{spec.name, model.dtype, {spec.rows, spec.cols}};
    if (spec.role == TensorRole::Vector) layout.shape = {spec.cols};
    std::vector<float> values = random_values(spec, random);
    if (model.edit && !model.edit(layout, values)) continue;
    contents.push_back(stored(values, layout.dtype));
    layouts.push_back(std::move(layout));
  }
  SafetensorsWriter writer(folder / "model.safetensors", layouts);
  for (std::size_t i = 0; i < layouts.size(); ++i) writer.write(layouts[i].name, contents[i]);
  writer.commit();
}

Recipe uniform_recipe(std::string_view format, const FormatOptions& options) {
  return Recipe::uniform(RoundToNearest{}, make_format(format, options));
}

Decoder quantized(const ModelFolder& folder, const Recipe& recipe, ExecutorRef pool) {
  return quantize_model(folder, recipe, pool, {}, dispatch::best());
}

Decoder loaded(const ModelFolder& folder, ExecutorRef pool) {
  return folder.load(pool, {}, dispatch::best());
}

Decoder decoder_of(const ModelConfig& config, const TensorProvider& provider, ExecutorRef pool) {
  return Decoder(config, provider, pool, {}, dispatch::best());
}

Matrix logits_of(const Decoder& decoder, std::span<const TokenId> tokens, ExecutorRef pool,
                 const RunOptions& options) {
  Workspace workspace(pool, options.activations);
  const auto count = static_cast<Index>(tokens.size());
  Session session = decoder.make_session(count, options.kv);
  Matrix logits(count, decoder.config().vocab_size);
  for (Index first = 0; first < count; first += options.chunk) {
    const Index size = std::min(options.chunk, count - first);
    const Slice slice{
        &session, tokens.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(size)),
        LogitRows::All};
    logits.middleRows(first, size) = decoder.forward({&slice, 1}, workspace);
  }
  return logits;
}

std::vector<TokenId> random_tokens(Index vocab_size, Index count, unsigned seed) {
  Random random(seed);
  std::vector<TokenId> tokens(static_cast<std::size_t>(count));
  for (TokenId& id : tokens) {
    id = random_integer(random, TokenId{0}, static_cast<TokenId>(vocab_size - 1));
  }
  return tokens;
}

bool same_bits(const Matrix& a, const Matrix& b) {
  return a.rows() == b.rows() && a.cols() == b.cols() &&
         std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(float)) == 0;
}

std::vector<std::string> listing(const std::filesystem::path& folder) {
  std::vector<std::string> lines;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    std::string line = entry.path().lexically_relative(folder).string();
    if (entry.is_regular_file()) {
      std::ifstream file(entry.path(), std::ios::binary);
      line += '\n';
      line.append(std::istreambuf_iterator<char>(file), {});
    }
    lines.push_back(std::move(line));
  }
  std::ranges::sort(lines);
  return lines;
}

}  // namespace nibble::test
