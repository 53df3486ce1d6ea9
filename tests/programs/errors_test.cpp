// What goes wrong ends in one line that names the culprit, and leaves nothing half-done.
#include "run_program.hpp"

using namespace nibble::test;
using nibble::read_text_file;

TEST_CASE("bad arguments are named") {
  const std::string model = shipped_model();
  const std::string text = shipped_text();
  require_error("generate", {}, "MODEL");
  require_error("generate", {model}, "PROMPT");
  require_error("generate", {model, "x", "--bogus"}, "--bogus");
  require_error("generate", {model, "x", "-n", "many"}, "--tokens");
  require_error("generate", {model, "x", "-n", "-1"}, "--tokens");
  require_error("generate", {model, "x", "--temperature", "warm"}, "--temperature");
  require_error("generate", {model, "x", "--temperature", "-1"}, "--temperature");
  require_error("generate", {model, "x", "--temperature", "nan"}, "--temperature");
  require_error("generate", {model, "x", "--top-p", "1.5"}, "top-p");
  require_error("generate", {model, "x", "--min-p", "2"}, "min-p");
  require_error("generate", {model, "x", "--repetition-penalty", "0"}, "repetition-penalty");
  require_error("generate", {model, "x", "--threads", "5000"}, "threads");
  require_error("generate", {model, "x", "--threads", "99999999999999999999"}, "--threads");
  require_error("generate", {model, "x", "--activations", "int9"}, "--activations");
  require_error("generate", {model, "x", "--kv", "int9"}, "--kv");
  require_error("quantize", {model, "out"}, "--format");
  require_error("quantize", {model, "out", "--format", "int5"}, "int5");
  require_error("quantize", {model, "out", "--format", "int4", "--method", "magic"}, "magic");
  require_error("quantize", {model, "out", "--format", "int4", "--group", "48"}, "48");
  require_error("quantize", {model, "out", "--format", "float16", "--asymmetric"}, "float16");
  require_error("quantize", {model, "out", "--format", "int4", "--per-tensor"}, "int4");
  require_error("evaluate", {model, text, "--window", "0"}, "--window");
  require_error("evaluate", {model, text, "--window", "2000"}, "context of 1024");
  require_error("evaluate", {model, text, "--windows", "-1"}, "--windows");
  require_error("compare", {model, text, "--formats", "int4,int5"}, "int5");
  require_error("logits", {model, "--ids", "1"}, "--out");
  require_error("logits", {model, "--out", "file"}, "--ids");
  require_error("logits", {model, "--ids", "1", "--text", "x", "--out", "file"}, "--ids");
}

TEST_CASE("missing inputs are named") {
  const TemporaryDirectory scratch;
  const std::string missing = scratch / "missing";
  require_error("generate", {missing, "x"}, missing);
  require_error("quantize", {missing, scratch / "out", "--format", "int8"}, missing);
  require_error("evaluate", {missing, shipped_text()}, missing);
  require_error("evaluate", {shipped_model(), missing}, missing);
  require_error("evaluate", {shipped_model(), shipped_text(), "--reference", missing}, missing);
  require_error("compare", {missing, shipped_text()}, missing);
  require_error("compare", {shipped_model(), missing}, missing);
  require_error("logits", {missing, "--ids", "1", "--out", scratch / "out"}, missing);
  require_error("quantize", {shipped_model(), scratch / "out", "--recipe", missing}, missing);
  require_error("generate", {shipped_model() + "/config.json", "x"}, "config.json");
  CHECK(std::filesystem::is_empty(scratch.path()));
}

TEST_CASE("a broken model is named") {
  const TemporaryDirectory scratch;
  make_changed_model(scratch / "model", {{"max_position_embeddings", 64}});
  std::filesystem::remove(scratch / "model/model.safetensors");
  require_error("generate", {scratch / "model", "x"}, "safetensors");
  nibble::write_text_file(scratch / "model/model.safetensors", "not tensors at all");
  require_error("generate", {scratch / "model", "x"}, "model.safetensors");
  nibble::write_text_file(scratch / "model/config.json", "{\"model_type\": \"gpt9\"}");
  require_error("generate", {scratch / "model", "x"}, "gpt9");
  nibble::write_text_file(scratch / "model/config.json", "{\n");
  require_error("generate", {scratch / "model", "x"}, "config.json");
}

TEST_CASE("bad prompts and texts") {
  const TemporaryDirectory scratch;
  require_error("generate", {shipped_model(), ""}, "PROMPT");
  require_error("generate", {shipped_model(), "-"}, "PROMPT");
  require_error("generate", {shipped_model(), "\xff\xfe"}, "UTF-8");
  std::string long_prompt;
  for (int i = 0; i < 1100; ++i) long_prompt += " the";
  require_error("generate", {shipped_model(), "-"}, "context of 1024", long_prompt);
  nibble::write_text_file(scratch / "short.txt", "Too short.");
  require_error("evaluate", {shipped_model(), scratch / "short.txt"}, "too short");
  require_error("compare", {shipped_model(), scratch / "short.txt"}, "too short");
  nibble::write_text_file(scratch / "empty.txt", "");
  require_error("evaluate", {shipped_model(), scratch / "empty.txt"},
                "empty.txt: the file is empty");
}

TEST_CASE("ids out of range leave no file") {
  const TemporaryDirectory scratch;
  const std::string out = scratch / "out.safetensors";
  require_error("logits", {shipped_model(), "--ids", "1,4096", "--out", out}, "4096");
  require_error("logits", {shipped_model(), "--ids", "-1", "--out", out}, "-1");
  require_error("logits", {shipped_model(), "--ids", "1,two", "--out", out}, "two");
  require_error("logits", {shipped_model(), "--ids", "99999999999", "--out", out}, "99999999999");
  std::string many = "1";
  for (int i = 0; i < 1024; ++i) many += ",1";
  require_error("logits", {shipped_model(), "--ids", many, "--out", out}, "context of 1024");
  CHECK(std::filesystem::is_empty(scratch.path()));
}

TEST_CASE("outputs that cannot be written are named, and what exists stays") {
  const TemporaryDirectory scratch;
  const std::string file = scratch / "file";
  nibble::write_text_file(file, "precious");
  const std::string nowhere = scratch / "nowhere/out";
  require_error("quantize", {shipped_model(), file, "--format", "int8"}, file);
  require_error("quantize", {shipped_model(), file, "--format", "int8", "--overwrite"}, file);
  require_error("quantize", {shipped_model(), file + "/out", "--format", "int8"}, file);
  require_error("quantize", {shipped_model(), nowhere, "--format", "int8"}, scratch / "nowhere");
  require_error("quantize", {shipped_model(), shipped_model(), "--format", "int8", "--overwrite"},
                "novella-5m");
  require_error("logits", {shipped_model(), "--ids", "1", "--out", nowhere}, nowhere);
  require_error("logits", {shipped_model(), "--ids", "1", "--out", file + "/out"}, file);
  require_error("logits", {shipped_model(), "--ids", "1", "--out", scratch.path().string()},
                scratch.path().string());
  require_error("logits", {shipped_model(), "--ids", "5000", "--out", file}, "5000");
  require_error("compare", {shipped_model(), shipped_text(), "--output", file}, file);
  require_error("compare", {shipped_model(), shipped_text(), "--output", nowhere}, nowhere);
  CHECK(read_text_file(file) == "precious");
  std::filesystem::remove(file);
  CHECK(std::filesystem::is_empty(scratch.path()));
}
