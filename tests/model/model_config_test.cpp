#include <nibble/model/model_config.hpp>

#include "io/io_test_support.hpp"
#include "support/fixtures.hpp"

namespace nibble {
namespace {

using nlohmann::json;

/// The smallest config.json, changed by a patch in which null removes a key.
json config_with(const json& patch, const char* model_type = "llama") {
  json config = {{"model_type", model_type},       {"hidden_size", 128},
                 {"intermediate_size", 256},       {"num_hidden_layers", 3},
                 {"num_attention_heads", 4},       {"vocab_size", 512},
                 {"max_position_embeddings", 1024}};
  if (patch.is_object()) config.merge_patch(patch);
  return config;
}

ModelConfig parse(const json& patch, const char* model_type = "llama") {
  return parse_model_config(config_with(patch, model_type), "config.json");
}

ModelConfig parse_text(std::string_view text) {
  return parse_model_config(parse_json(text, "config.json"), "config.json");
}

TEST_CASE("absent keys take the reference implementation's defaults") {
  const ModelConfig llama = parse({});
  CHECK(llama.model_type == "llama");
  CHECK(llama.kv_heads == 4);
  CHECK(llama.head_dim == 32);
  CHECK(llama.rms_norm_eps == 1e-6F);
  CHECK(llama.rope == RopeConfig{});
  CHECK_FALSE((llama.q_bias || llama.k_bias || llama.v_bias || llama.o_bias || llama.mlp_bias));
  CHECK_FALSE((llama.qk_norm || llama.tied_head || llama.is_nibble));
  CHECK(llama.sliding_windows == std::vector<Index>{0, 0, 0});
  CHECK(llama.bos_ids.empty());
  CHECK(llama.eos_ids.empty());
  CHECK(parse({}, "mistral").sliding_windows == std::vector<Index>{4096, 4096, 4096});
  CHECK(parse({}, "qwen2").sliding_windows == std::vector<Index>{0, 0, 0});
  CHECK(parse({}, "qwen3").head_dim == 128);
}

TEST_CASE("biases and norms are those of the architecture") {
  const auto flags = [](const ModelConfig& model) {
    return std::vector<bool>{model.q_bias, model.k_bias,   model.v_bias,
                             model.o_bias, model.mlp_bias, model.qk_norm};
  };
  using Flags = std::vector<bool>;
  CHECK(flags(parse({{"attention_bias", true}})) == Flags{true, true, true, true, false, false});
  CHECK(flags(parse({{"mlp_bias", true}})) == Flags{false, false, false, false, true, false});
  CHECK(flags(parse({}, "mistral")) == Flags{false, false, false, false, false, false});
  CHECK(flags(parse({}, "qwen2")) == Flags{true, true, true, false, false, false});
  CHECK(flags(parse({}, "qwen3")) == Flags{false, false, false, false, false, true});
  CHECK(flags(parse({{"attention_bias", true}}, "qwen3")) ==
        Flags{true, true, true, true, false, true});
  REQUIRE_ERROR(parse({{"attention_bias", true}}, "qwen2"),
                "field 'attention_bias': found true, which model_type qwen2 does not define");
  REQUIRE_ERROR(parse({{"attention_bias", true}}, "mistral"), "'attention_bias'");
  REQUIRE_ERROR(parse({{"mlp_bias", true}}, "qwen3"), "'mlp_bias'");
  CHECK_NOTHROW(parse({{"attention_bias", false}, {"mlp_bias", false}}, "mistral"));
}

TEST_CASE("configs of published models are read") {
  const auto tiny_llama = parse_text(R"({
    "architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": 1,
    "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
    "intermediate_size": 5632, "max_position_embeddings": 2048, "model_type": "llama",
    "num_attention_heads": 32, "num_hidden_layers": 22, "num_key_value_heads": 4,
    "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_scaling": null, "rope_theta": 10000.0,
    "tie_word_embeddings": false, "torch_dtype": "bfloat16", "transformers_version": "4.35.0",
    "use_cache": true, "vocab_size": 32000})");
  CHECK(tiny_llama.head_dim == 64);
  CHECK(tiny_llama.eos_ids == std::vector<TokenId>{2});
  CHECK(tiny_llama.rms_norm_eps == 1e-5F);

  const auto llama_3_2 = parse_text(R"({
    "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
    "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "head_dim": 64,
    "hidden_act": "silu", "hidden_size": 2048, "intermediate_size": 8192,
    "max_position_embeddings": 131072, "mlp_bias": false, "model_type": "llama",
    "num_attention_heads": 32, "num_hidden_layers": 16, "num_key_value_heads": 8,
    "pretraining_tp": 1, "rms_norm_eps": 1e-05,
    "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                     "original_max_position_embeddings": 8192, "rope_type": "llama3"},
    "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
    "vocab_size": 128256})");
  CHECK(llama_3_2.rope == RopeConfig{RopeKind::llama3, 500000, 32, 1, 4, 8192});
  CHECK(llama_3_2.eos_ids == std::vector<TokenId>{128001, 128008, 128009});
  CHECK(llama_3_2.tied_head);

  const auto smol_lm_2 = parse_text(R"({
    "architectures": ["LlamaForCausalLM"], "attention_bias": false, "bos_token_id": 1,
    "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576, "intermediate_size": 1536,
    "is_llama_config": true, "max_position_embeddings": 8192, "mlp_bias": false,
    "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30,
    "num_key_value_heads": 3, "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05,
    "rope_interleaved": false, "rope_scaling": null, "rope_theta": 100000,
    "tie_word_embeddings": true, "torch_dtype": "bfloat16", "vocab_size": 49152,
    "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}}})");
  CHECK(smol_lm_2.rope.theta == 100000);
  CHECK(smol_lm_2.head_dim == 64);

  const json mistral = {{"architectures", {"MistralForCausalLM"}},
                        {"hidden_size", 4096},
                        {"intermediate_size", 14336},
                        {"num_hidden_layers", 32},
                        {"num_attention_heads", 32},
                        {"num_key_value_heads", 8},
                        {"vocab_size", 32000},
                        {"max_position_embeddings", 32768},
                        {"sliding_window", 4096}};
  CHECK(parse(mistral, "mistral").sliding_windows == std::vector<Index>(32, 4096));
  json no_window = config_with(mistral, "mistral");  // as from version 0.2 on
  no_window["sliding_window"] = nullptr;
  CHECK(parse_model_config(no_window, "c").sliding_windows == std::vector<Index>(32, 0));
  const json nemo = {{"hidden_size", 5120}, {"num_attention_heads", 32}, {"head_dim", 128}};
  CHECK(parse(nemo, "mistral").head_dim == 128);

  const auto qwen_2_5 = parse_text(R"({
    "architectures": ["Qwen2ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
    "eos_token_id": 151645, "hidden_act": "silu", "hidden_size": 896, "intermediate_size": 4864,
    "max_position_embeddings": 32768, "max_window_layers": 21, "model_type": "qwen2",
    "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "sliding_window": 32768,
    "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_cache": true, "use_mrope": false,
    "use_sliding_window": false, "vocab_size": 151936})");
  CHECK(qwen_2_5.sliding_windows == std::vector<Index>(24, 0));
  CHECK((qwen_2_5.q_bias && !qwen_2_5.o_bias));

  const auto qwen_3 = parse_text(R"({
    "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "bos_token_id": 151643,
    "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 1024,
    "intermediate_size": 3072, "max_position_embeddings": 40960, "max_window_layers": 28,
    "model_type": "qwen3", "num_attention_heads": 16, "num_hidden_layers": 28,
    "num_key_value_heads": 8, "rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000,
    "sliding_window": null, "tie_word_embeddings": true, "use_sliding_window": false,
    "vocab_size": 151936})");
  CHECK(qwen_3.head_dim * qwen_3.heads == 2048);
  CHECK(qwen_3.qk_norm);
}

TEST_CASE("sliding windows follow the architecture's rules") {
  using Windows = std::vector<Index>;
  const auto windows = [](const json& patch, const char* type) {
    return parse(patch, type).sliding_windows;
  };
  const json used = {
      {"use_sliding_window", true}, {"sliding_window", 64}, {"max_window_layers", 2}};
  CHECK(windows(used, "qwen2") == Windows{0, 0, 64});
  CHECK(windows({{"use_sliding_window", true}}, "qwen2") == Windows{0, 0, 0});  // layers from 28 on
  CHECK(windows({{"use_sliding_window", true}, {"max_window_layers", 0}}, "qwen3") ==
        Windows{4096, 4096, 4096});
  json typed = used;
  typed["layer_types"] = {"sliding_attention", "full_attention", "full_attention"};
  CHECK(windows(typed, "qwen3") == Windows{64, 0, 0});
  CHECK(windows({{"sliding_window", 8},
                 {"layer_types",
                  json::array({"sliding_attention", "sliding_attention", "sliding_attention"})}},
                "mistral") == Windows{8, 8, 8});

  REQUIRE_ERROR(windows({{"sliding_window", 8}}, "llama"),
                "'sliding_window': found 8, which model_type llama does not define");
  CHECK(windows({{"sliding_window", 1024}}, "llama") == Windows{0, 0, 0});  // hides nothing
  REQUIRE_ERROR(windows({{"sliding_window", 0}}, "mistral"), "'sliding_window'");
  REQUIRE_ERROR(windows({{"layer_types", typed["layer_types"]}}, "qwen2"),
                "'layer_types' element 0: sliding_attention without a sliding window");
  REQUIRE_ERROR(windows({{"layer_types", typed["layer_types"]}}, "mistral"),
                "'layer_types' element 1: found full_attention, but model_type mistral");
  REQUIRE_ERROR(windows({{"layer_types", json::array({"full_attention"})}}, "qwen2"),
                "'layer_types': 1 elements, expected 3");
  REQUIRE_ERROR(windows({{"layer_types",
                          json::array({"full_attention", "full_attention", "linear_attention"})}},
                        "qwen2"),
                "element 2: expected full_attention or sliding_attention, found \"linear");
}

TEST_CASE("RoPE is read in both spellings") {
  const auto rope = [](const json& patch) { return parse(patch).rope; };
  const RopeConfig linear{RopeKind::linear, 20000, 4, 1, 4, 0};
  CHECK(rope({{"rope_theta", 20000}, {"rope_scaling", {{"type", "linear"}, {"factor", 4}}}}) ==
        linear);
  CHECK(rope({{"rope_theta", 20000},
              {"rope_scaling", {{"rope_type", "linear"}, {"type", "linear"}, {"factor", 4.0}}}}) ==
        linear);
  const json v5 = {{"rope_type", "linear"}, {"rope_theta", 20000.0}, {"factor", 4.0}};
  CHECK(rope({{"rope_parameters", v5}}) == linear);
  CHECK(rope({{"rope_theta", 20000}, {"rope_parameters", v5}}) == linear);
  CHECK(rope({{"rope_parameters", {{"full_attention", v5}, {"sliding_attention", v5}}}}) == linear);
  CHECK(rope({{"rope_parameters", {{"rope_theta", 5.0}}}}).theta == 5);
  CHECK(rope({{"rope_scaling", {{"rope_type", "default"}}}}) == RopeConfig{});
}

TEST_CASE("RoPE that is not supported or makes no sense is refused") {
  const auto scaled = [](const json& scaling) { return parse({{"rope_scaling", scaling}}); };
  for (const char* type : {"yarn", "dynamic", "longrope", "su", "mrope", "proportional", ""}) {
    REQUIRE_ERROR(scaled({{"rope_type", type}, {"factor", 2}}),
                  "config.json: rope_scaling: field 'rope_type': expected default, linear or "
                  "llama3, found \"" +
                      std::string(type) + "\"");
    REQUIRE_ERROR(scaled({{"type", type}, {"factor", 2}}), "field 'type': expected default");
  }
  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8},
                       {"low_freq_factor", 1},
                       {"high_freq_factor", 4},
                       {"original_max_position_embeddings", 64}};
  CHECK_NOTHROW(scaled(llama3));
  const auto changed = [&](const char* key, const json& value) {
    json copy = llama3;
    copy[key] = value;
    return scaled(copy);
  };
  for (const char* key :
       {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
    CAPTURE(key);
    REQUIRE_ERROR(changed(key, nullptr), "rope_scaling: field '" + std::string(key) + "'");
    REQUIRE_ERROR(changed(key, "8"), "rope_scaling: field '" + std::string(key) + "': expected");
    REQUIRE_ERROR(changed(key, 0), "rope_scaling: field '" + std::string(key) + "': expected");
    REQUIRE_ERROR(changed(key, -1), "rope_scaling: field '" + std::string(key) + "': expected");
    REQUIRE_ERROR(changed(key, 1e300), "rope_scaling: field '" + std::string(key) + "': expected");
  }
  REQUIRE_ERROR(changed("high_freq_factor", 1), "expected more than low_freq_factor 1, found 1");
  REQUIRE_ERROR(scaled({{"factor", 2}}), "field 'factor': found 2");
  REQUIRE_ERROR(scaled({{"type", "linear"}}), "field 'factor': missing");
  REQUIRE_ERROR(scaled({{"rope_type", "default"}, {"type", "linear"}, {"factor", 2}}),
                "field 'type': expected \"default\" as in 'rope_type', found \"linear\"");
  REQUIRE_ERROR(scaled({{"rope_type", "default"}, {"mrope_section", {1, 2}}}), "'mrope_section'");
  REQUIRE_ERROR(scaled({{"rope_type", "default"}, {"partial_rotary_factor", 0.5}}),
                "'partial_rotary_factor': found 0.5, nibble supports only 1");
  REQUIRE_ERROR(scaled("linear"), "rope_scaling: expected an object, found \"linear\"");
  REQUIRE_ERROR(parse({{"rope_theta", 0}}), "'rope_theta': expected a number from 1 to");
  REQUIRE_ERROR(parse({{"rope_theta", 10000}, {"rope_parameters", {{"rope_theta", 20000}}}}),
                "rope_theta 20000 contradicts rope_theta 10000");
  REQUIRE_ERROR(parse({{"rope_parameters",
                        {{"full_attention", {{"rope_theta", 10000}}},
                         {"sliding_attention", {{"rope_theta", 20000}}}}}}),
                "contradicts the other parameters of RoPE");
}

TEST_CASE("what would change the results is refused by name") {
  REQUIRE_ERROR(parse({}, "gemma2"),
                "config.json: field 'model_type': expected llama, mistral, qwen2 or qwen3, found "
                "\"gemma2\"");
  REQUIRE_ERROR(parse({{"model_type", nullptr}}), "field 'model_type': missing");
  REQUIRE_ERROR(parse({{"architectures", {"LlamaForSequenceClassification"}}}),
                "'architectures': expected LlamaForCausalLM, found \"LlamaForSequence");
  REQUIRE_ERROR(parse({{"hidden_act", "gelu"}}),
                "field 'hidden_act': found \"gelu\", nibble supports only \"silu\"");
  REQUIRE_ERROR(parse({{"hidden_act", "swish"}}), "'hidden_act': found \"swish\"");
  for (const auto& [key, neutral] : detail::neutral_values()) {
    CAPTURE(key);
    json config = config_with({});
    config[std::string(key)] = neutral;
    CHECK_NOTHROW(parse_model_config(config, "c"));
    config[std::string(key)] = 2;
    REQUIRE_ERROR(parse_model_config(config, "c"), "c: field '" + std::string(key) + "': found 2");
  }
}

TEST_CASE("weights quantized by other methods are refused by name") {
  for (const char* method :
       {"gptq", "awq", "compressed-tensors", "fp8", "bitsandbytes", "Nibble"}) {
    REQUIRE_ERROR(
        parse({{"quantization_config", {{"quant_method", method}, {"bits", 4}}}}),
        "quantization_config: field 'quant_method': expected \"nibble\" or an unquantized "
        "model, found \"" +
            std::string(method) + "\"");
  }
  REQUIRE_ERROR(parse({{"quantization_config", {{"bits", 4}}}}), "'quant_method': missing");
  REQUIRE_ERROR(parse({{"quantization_config", 4}}), "quantization_config: expected an object");
  CHECK(parse({{"quantization_config", {{"quant_method", "nibble"}, {"version", 1}}}}).is_nibble);
}

TEST_CASE("sizes are positive, bounded and agree") {
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers",
                          "num_attention_heads", "vocab_size", "max_position_embeddings"}) {
    CAPTURE(key);
    const std::string where = "config.json: field '" + std::string(key) + "'";
    REQUIRE_ERROR(parse({{key, nullptr}}), where + ": missing");
    for (const json& bad : {json(0), json(-1), json(1.5), json(true), json("8"), json::array(),
                            json(std::int64_t{1} << 40), json(~std::uint64_t{0})}) {
      CAPTURE(bad);
      REQUIRE_ERROR(parse({{key, bad}}), where + ": expected");
    }
  }
  REQUIRE_ERROR(parse({{"hidden_size", "abc"}}),
                "config.json: field 'hidden_size': expected a positive integer, found \"abc\"");
  REQUIRE_ERROR(parse({{"num_key_value_heads", 3}}), "expected a divisor of num_attention_heads 4");
  REQUIRE_ERROR(parse({{"num_key_value_heads", 8}}), "expected an integer from 1 to 4, found 8");
  REQUIRE_ERROR(parse({{"hidden_size", 130}}), "expected a multiple of num_attention_heads 4");
  REQUIRE_ERROR(parse({{"head_dim", 31}}), "'head_dim': expected an even number");
  const std::string most = std::to_string(config_limits.head_dim);
  REQUIRE_ERROR(parse({{"head_dim", config_limits.head_dim + 2}}),
                "'head_dim': expected an integer from 1 to " + most);
  REQUIRE_ERROR(parse({{"hidden_size", 1 << 20}, {"num_attention_heads", 1}}),
                "'head_dim': expected an even number up to " + most + ", found 1048576");
  REQUIRE_ERROR(parse({{"num_attention_heads", 65536}, {"head_dim", 512}}),
                "65536 heads of 512 are 33554432 wide");
  REQUIRE_ERROR(parse({{"rms_norm_eps", 0}}), "'rms_norm_eps': expected a number between 0 and 1");
  REQUIRE_ERROR(parse({{"rms_norm_eps", 1e300}}), "'rms_norm_eps'");
  REQUIRE_ERROR(parse({{"rms_norm_eps", "1e-5"}}), "'rms_norm_eps': expected a number");
  REQUIRE_ERROR(parse({{"tie_word_embeddings", 1}}),
                "'tie_word_embeddings': expected true or false");
  REQUIRE_ERROR(parse({{"eos_token_id", -1}}), "'eos_token_id'");
  REQUIRE_ERROR(parse({{"eos_token_id", {1, "2"}}}),
                "'eos_token_id' element 1: expected an integer");
  REQUIRE_ERROR(parse_model_config(json::array(), "c"), "c: expected an object");
}

TEST_CASE("the fixtures' configs are read") {
  NIBBLE_REQUIRE_FIXTURES(fixtures);
  const auto read = [&](const char* name) {
    const auto path = fixtures / "models" / name / "config.json";
    return parse_model_config(read_json_file(path), path_text(path));
  };
  CHECK(read("novella-28m").kv_heads == 4);
  CHECK(read("novella-5m").tied_head);
  CHECK(read("zoo/llama-mha-bias").o_bias);
  CHECK(read("zoo/llama3-rope-untied").rope == RopeConfig{RopeKind::llama3, 500000, 8, 1, 4, 64});
  CHECK(read("zoo/mistral-sliding").sliding_windows == std::vector<Index>{8, 8, 8});
  CHECK(read("zoo/qwen2").v_bias);
  CHECK(read("zoo/qwen3").head_dim == 64);
  REQUIRE_ERROR(read("novella-embed"), "found \"static_embedding\"");
}

}  // namespace
}  // namespace nibble
