// nibble-generate.
#include <cctype>

#include "run_program.hpp"

using namespace nibble::test;
using nibble::read_json_file;

TEST_CASE("greedy text is that of the PyTorch reference") {
  const auto expected = read_json_file(source_path("tests/data/novella-5m.greedy.json"));
  for (const auto& [prompt, continuation] : expected.items()) {
    const auto json = run_program("generate", {shipped_model(), prompt, "-n", "48", "--activations",
                                               "float", "--kv", "float32", "--json"})
                          .json();
    CHECK(json["ids"] == continuation["ids"]);
    CHECK(json["text"] == continuation["text"]);
    CHECK(json["activations"] == "float");
    CHECK(json["kv"] == "float32");
    CHECK(json["isa"].is_string());
    CHECK(json["stop"] == "length");
    CHECK(json["generated_tokens"] == 48);
    CHECK(json["prompt_tokens"].get<std::size_t>() + 48 == json["ids"].size());
    CHECK(json["text"] == prompt + json["completion"].get<std::string>());
    CHECK(json["prompt_seconds"].get<double>() > 0);
    CHECK(json["generate_seconds"].get<double>() > 0);
  }
}

TEST_CASE("text streams to standard output, the banner to standard error") {
  const Outcome outcome = run_program("generate", {shipped_model(), "-", "-n", "5"}, "Once upon");
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.out.rfind("Once upon", 0) == 0);
  CHECK(outcome.out.back() == '\n');
  CHECK_THAT(outcome.err, Catch::Matchers::ContainsSubstring("native activations, float16 KV"));
  CHECK_THAT(outcome.err, Catch::Matchers::ContainsSubstring("tokens/s"));
}

TEST_CASE("a seed repeats a sampled text, another one changes it") {
  const auto sample = [](const std::string& seed) {
    return run_program("generate", {shipped_model(), "The sea was", "-n", "20", "--temperature",
                                    "1", "--top-k", "50", "--top-p", "0.95", "--min-p", "0.01",
                                    "--repetition-penalty", "1.1", "--seed", seed, "--json"})
        .json();
  };
  const auto one = sample("1");
  CHECK(one["ids"] == sample("1")["ids"]);
  CHECK(one["ids"] != sample("2")["ids"]);
  CHECK(one["sampling"]["top_k"] == 50);
}

TEST_CASE("a stop text ends the text before it") {
  const auto json =
      run_program("generate", {shipped_model(), "It was a dark night, and the old man", "--stop",
                               "nothing like this", "--stop", " weather", "--json", "--activations",
                               "float", "--kv", "float32"})
          .json();
  CHECK(json["stop"] == "stop_string");
  CHECK(json["completion"] == " was\nconscious of the change in the");
  CHECK(json["text"] == "It was a dark night, and the old man was\nconscious of the change in the");
}

TEST_CASE("the context ends the text") {
  const TemporaryDirectory scratch;
  make_changed_model(scratch / "short", {{"max_position_embeddings", 16}});
  const auto json =
      run_program("generate", {scratch / "short", "It was", "--json", "-n", "100"}).json();
  CHECK(json["stop"] == "context");
  CHECK(json["ids"].size() == 17);  // the last one needs no position
  require_error("generate",
                {scratch / "short",
                 "one two three four five six seven eight nine ten eleven twelve thirteen"},
                "context of 16");
}

TEST_CASE("generation_config.json decides where no option does") {
  const TemporaryDirectory scratch;
  make_changed_model(scratch / "model", {{"max_position_embeddings", 64}});
  std::filesystem::remove(scratch / "model/generation_config.json");
  nibble::write_text_file(scratch / "model/generation_config.json",
                          R"({"do_sample": true, "temperature": 0.5, "top_k": 7})");
  const auto sampling = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {scratch / "model", "It was", "--json", "-n", "1"});
    return run_program("generate", more).json()["sampling"];
  };
  CHECK(sampling({})["temperature"] == 0.5);
  CHECK(sampling({})["top_k"] == 7);
  CHECK(sampling({"--temperature", "0"})["temperature"] == 0);
  CHECK(sampling({"--top-k", "3"})["temperature"] == 1);
  CHECK(sampling({"--top-k", "3"})["top_k"] == 3);
}
