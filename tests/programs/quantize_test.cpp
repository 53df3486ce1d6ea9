// nibble-quantize, and what the other programs make of its folders.
#include "run_program.hpp"
#include "support/file_size_limit.hpp"

using namespace nibble::test;

namespace {

/// The first two layers of the shipped model, which are soon calibrated.
std::string shallow_model(const TemporaryDirectory& scratch) {
  const std::string model = scratch / "model";
  make_changed_model(model, {{"num_hidden_layers", 2}});
  return model;
}

}  // namespace

TEST_CASE("a quantized folder writes and is measured") {
  const TemporaryDirectory scratch;
  const std::string out = scratch / "int4";
  const auto json =
      run_program("quantize", {shipped_model(), out, "--format", "int4", "--asymmetric", "--json"})
          .json();
  CHECK(json["bits_per_weight"].get<double>() > 4.1);
  CHECK(json["bits_per_weight"].get<double>() < 4.6);
  CHECK(json["file_size"] == std::filesystem::file_size(out + "/model.safetensors"));
  CHECK(json["file_size_before"] ==
        std::filesystem::file_size(shipped_model() + "/model.safetensors"));
  CHECK(json["formats"].size() == 2);  // the embedding stays bfloat16
  CHECK(json["seconds"].get<double>() > 0);

  const auto text = run_program("generate", {out, "The captain", "-n", "8", "--json"}).json();
  CHECK(text["generated_tokens"] == 8);
  const auto quality = run_program("evaluate", {out, shipped_text(), "--reference", shipped_model(),
                                                "--window", "128", "--windows", "1", "--json"})
                           .json();
  CHECK(quality["bits_per_weight"] == json["bits_per_weight"]);
  CHECK(quality["kl_divergence"].get<double>() > 0.001);
  CHECK(quality["kl_divergence"].get<double>() < 0.5);

  require_error("quantize", {out, scratch / "again", "--format", "int8"}, "quantized already");
  require_error("compare", {out, shipped_text()}, "quantized already");
  CHECK_FALSE(std::filesystem::exists(scratch / "again"));
}

TEST_CASE("every format is written and loads") {
  const std::string format =
      GENERATE("zero-one-int8", "int4", "int3", "int2", "int8", "float16", "bfloat16", "float32");
  const TemporaryDirectory scratch;
  CAPTURE(format);
  const Outcome outcome =
      run_program("quantize", {shipped_model(), scratch / "out", "--format", format});
  CHECK(outcome.exit_code == 0);
  CHECK_THAT(outcome.out, Catch::Matchers::ContainsSubstring(format));
  CHECK(run_program("generate", {scratch / "out", "A", "-n", "2", "--json"})
            .json()["generated_tokens"] == 2);
}

TEST_CASE("a recipe comes before the format") {
  const TemporaryDirectory scratch;
  nibble::write_text_file(scratch / "recipe.json", R"({"rules": [
    {"tensors": "model.layers.0.*_proj.weight", "keep": true},
    {"tensors": "*.down_proj.weight", "format": "int8"}]})");
  const auto json = run_program("quantize", {shipped_model(), scratch / "out", "--recipe",
                                             scratch / "recipe.json", "--format", "int3", "--group",
                                             "64", "--json"})
                        .json();
  CHECK(json["recipe"]["rules"].size() == 3);
  CHECK(json["formats"].size() == 3);
}

TEST_CASE("an output that exists is replaced on request alone") {
  const TemporaryDirectory scratch;
  const std::string out = scratch / "out";
  CHECK(run_program("quantize", {shipped_model(), out, "--format", "int8"}).exit_code == 0);
  const auto size = std::filesystem::file_size(out + "/model.safetensors");
  require_error("quantize", {shipped_model(), out, "--format", "int2"}, "out: exists already");
  CHECK(std::filesystem::file_size(out + "/model.safetensors") == size);
  CHECK(run_program("quantize", {shipped_model(), out, "--format", "int2", "--overwrite"})
            .exit_code == 0);
  CHECK(std::filesystem::file_size(out + "/model.safetensors") < size);
}

TEST_CASE("a calibrated method is nearer to the model than round-to-nearest, and reports") {
  const TemporaryDirectory scratch;
  const std::string model = shallow_model(scratch);
  const auto quality = [&](const std::string& method) {
    const std::string out = scratch / method;
    std::vector<std::string> arguments{model,      out,    "--format", "int3",
                                       "--method", method, "--json"};
    if (method != "rtn") {
      arguments.insert(arguments.end(),
                       {"--calibration", shipped_text(), "--samples", "4", "--window", "256"});
    }
    const auto json = run_program("quantize", arguments).json();
    if (method != "rtn") {
      CHECK(json["recipe"]["rules"][0]["method"] == method);
      CHECK(json["calibration"]["windows"] == 4);
      CHECK(json["calibration"]["window"] == 256);
      int scaled = 0;
      double error = 0;  // relative to round-to-nearest, summed over tensors
      for (const auto& tensor : json["calibration"]["tensors"]) {
        error += tensor["error"].get<double>() / tensor["rtn_error"].get<double>();
        CHECK(tensor["damping"].get<double>() == (method == "gptq" ? 0.01 : 0));
        CHECK(tensor["seconds"].get<double>() > 0);
        scaled += tensor["exponent"].get<double>() > 0;
      }
      CHECK((scaled > 0) == (method == "awq"));
      CHECK(error < static_cast<double>(json["calibration"]["tensors"].size()));
    }
    return run_program("evaluate", {out, shipped_text(), "--reference", model, "--window", "256",
                                    "--windows", "8", "--json"})
        .json()["kl_divergence"]
        .get<double>();
  };
  const double nearest = quality("rtn");
  CHECK(quality("gptq") < nearest);
  CHECK(quality("awq") < nearest);

  const std::string out = scratch / "none";
  require_error("quantize", {model, out, "--format", "int4", "--method", "gptq"},
                "method gptq needs a text to calibrate on");
  require_error(
      "quantize",
      {model, out, "--format", "int4", "--method", "gptq", "--calibration", model + "/config.json"},
      "config.json: holds ");
  require_error("quantize", {model, out, "--format", "int4", "--calibration", shipped_text()},
                "--calibration: no rule has a method that reads it");
  require_error("quantize", {model, out, "--format", "int4", "--samples", "4"}, "--calibration");
  require_error("quantize",
                {"--option", "damping=lots", model, out, "--format", "int4", "--method", "gptq",
                 "--calibration", shipped_text()},
                "--option damping: ");
  CHECK_FALSE(std::filesystem::exists(out));

  // What was rounded to nearest without a look at its inputs has no errors to report.
  const auto floats =
      run_program("quantize", {"--option", "damping=0.1", model, out, "--format", "bfloat16",
                               "--method", "gptq", "--calibration", shipped_text(), "--samples",
                               "1", "--window", "32", "--json"})
          .json();
  CHECK(floats["recipe"]["rules"][0]["options"]["damping"] == 0.1);
  CHECK(floats["calibration"]["tensors"][0]["error"].is_null());
}

TEST_CASE("formats are chosen for a budget, and the result is measured") {
  const TemporaryDirectory scratch;
  const std::string model = shallow_model(scratch);
  const std::string out = scratch / "out";
  const auto json =
      run_program("quantize", {model, out, "--budget-bpw", "3.5", "--calibration", shipped_text(),
                               "--samples", "2", "--window", "64", "--evaluate", shipped_text(),
                               "--evaluate-windows", "1", "--json"})
          .json();
  CHECK(json["bits_per_weight"].get<double>() <= 3.5);
  CHECK(json["bits_per_weight"].get<double>() > 3.4);
  CHECK(json["budget"]["bits_per_weight"] == json["bits_per_weight"]);
  CHECK(json["budget"]["tensors"].size() == json["recipe"]["rules"].size());
  CHECK(nibble::read_json_file(out + "/recipe.json") == json["recipe"]);
  const auto& result = json["evaluation"];
  CHECK(result["windows"] == 1);
  CHECK(result["kl_divergence"].get<double>() > 0.001);
  CHECK(result["kl_divergence"].get<double>() < 0.5);
  CHECK(result["perplexity"].get<double>() > result["perplexity_before"].get<double>());
  CHECK(json["memory"]["predicted_peak"].get<double>() > 1e7);
  CHECK_FALSE(json["memory"]["activations_on_disk"].get<bool>());

  const auto measured =
      run_program("evaluate", {out, shipped_text(), "--reference", model, "--windows", "1",
                               "--activations", "float", "--kv", "float32", "--json"})
          .json();
  CHECK(measured["perplexity"] == result["perplexity"]);
  CHECK(measured["kl_divergence"] == result["kl_divergence"]);
}

TEST_CASE("formats are chosen for the size of a file") {
  const TemporaryDirectory scratch;
  const std::string model = shallow_model(scratch);
  const std::string out = scratch / "out";
  const auto json =
      run_program("quantize", {model, out, "--budget-size", "2.8M", "--calibration", shipped_text(),
                               "--samples", "1", "--window", "32", "--json"})
          .json();
  const auto size = std::filesystem::file_size(out + "/model.safetensors");
  CHECK(json["file_size"] == size);
  CHECK(size <= 2'800'000);
  CHECK(size > 2'780'000);
  CHECK(json["budget"]["bits_per_weight"] == json["bits_per_weight"]);
}

TEST_CASE("what a budget cannot be is refused, and nothing is left behind") {
  const TemporaryDirectory scratch;
  const std::string out = scratch / "out";
  const auto refused = [&](std::vector<std::string> arguments, const std::string& culprit) {
    arguments.insert(arguments.begin(), {shipped_model(), out});
    require_error("quantize", arguments, culprit);
    CHECK(std::filesystem::is_empty(scratch.path()));
  };
  const std::string text = shipped_text();
  refused({"--budget-bpw", "3.5"}, "--calibration");
  refused({"--budget-bpw", "3.5", "--format", "int4", "--calibration", text}, "--format");
  refused({"--budget-bpw", "1", "--calibration", text, "--window", "32", "--samples", "1"},
          "a budget of 1 bits per weight is too small");
  refused({"--budget-size", "1K", "--calibration", text, "--window", "32", "--samples", "1"},
          "a budget of 1000 bytes is too small");
  refused({"--budget-size", "4M", "--budget-bpw", "3", "--calibration", text}, "--budget-bpw");
  refused({"--format", "int4", "--memory-budget", "1M"}, "memory budget of 1 MB: ");
  refused({"--format", "int4", "--memory-budget", "0.5MiB"}, "memory budget of 0.52 MB: ");
  refused({"--format", "int4", "--memory-budget", "0.1M", "--evaluate", text},
          "treasure_island.txt: encoding it takes 0.78 MB, beyond --memory-budget");
  for (const char* size : {"lots", "5 G", "1.5X", "1e30"}) {
    refused({"--format", "int4", "--memory-budget", size}, "expected a size such as 500M");
  }
  refused({"--format", "int4", "--evaluate-windows", "1"}, "--evaluate");
  refused({"--format", "int4", "--evaluate", out}, "out");
  refused({"--format", "int4", "--evaluate", shipped_model() + "/config.json"}, "config.json");
}

TEST_CASE("quantize says what it calibrates on, and where that is little") {
  const TemporaryDirectory scratch;
  const std::string model = shallow_model(scratch), out = scratch / "out";
  const auto told = [&](const char* method, const char* samples) {
    const Outcome outcome = run_program(
        "quantize", {model, out, "--format", "int4", "--overwrite", "--method", method,
                     "--calibration", shipped_text(), "--window", "64", "--samples", samples});
    CHECK(outcome.exit_code == 0);
    return outcome.err;
  };
  const auto says = [](const char* text) { return Catch::Matchers::ContainsSubstring(text); };
  const char* few = "few tokens for layers of 640 inputs: with less than 1920, awq errs least";
  CHECK_THAT(told("gptq", "2"), says("calibrated on 2 windows of 64 tokens") && says(few));
  CHECK_THAT(told("gptq", "30"), says("calibrated on 30 windows of 64 tokens") && !says(few));
  CHECK_THAT(told("awq", "2"), says("calibrated on 2 windows of 64 tokens") && !says(few));
}

TEST_CASE("an interrupted calibration goes on, or begins anew on request") {
  const TemporaryDirectory scratch;
  const std::string model = shallow_model(scratch);
  const std::string out = scratch / "out";
  const auto arguments = [&](const char* samples, const std::vector<std::string>& more = {}) {
    std::vector<std::string> all{model, out, "--format", "int2", "--method", "gptq", "--json"};
    all.insert(all.end(), {"--calibration", shipped_text(), "--window", "64"});
    all.insert(all.end(), {"--samples", samples});
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const auto quantize = [&](const char* samples, const std::vector<std::string>& more = {}) {
    return run_program("quantize", arguments(samples, more)).json();
  };
  const auto weights = [&] { return nibble::read_text_file(out + "/model.safetensors"); };
  const auto whole = quantize("1");
  const std::string expected = weights();
  CHECK(whole["calibration"]["resumed_layers"] == 0);
  CHECK_FALSE(whole["memory"]["activations_on_disk"].get<bool>());

  for (const bool restart : {false, true}) {
    std::filesystem::remove_all(out);
    {
      const FileSizeLimit limit(1'000'000);  // layers fit, the whole does not
      const Outcome outcome = run_program("quantize", arguments("1"));
      CHECK(outcome.exit_code == 1);
      CHECK_THAT(
          outcome.err,
          Catch::Matchers::ContainsSubstring(
              ".out.partial; the same command goes on once that is mended, --restart deletes it"));
    }
    CHECK(std::filesystem::exists(scratch / ".out.partial/layer-1.safetensors"));
    const auto json =
        quantize("1", restart ? std::vector<std::string>{"--restart"} : std::vector<std::string>());
    CHECK(json["calibration"]["resumed_layers"] == (restart ? 0 : 2));
    CHECK(weights() == expected);
    CHECK_FALSE(std::filesystem::exists(scratch / ".out.partial"));
  }

  std::filesystem::remove_all(out);
  const auto peak = whole["memory"]["predicted_peak"].get<std::uint64_t>();
  // Of two windows in files there is one in memory at a time.
  const auto two = quantize("2", {"--memory-budget", std::to_string(peak + 1'000)});
  CHECK(two["memory"]["activations_on_disk"].get<bool>());
  CHECK(two["memory"]["predicted_peak"].get<std::uint64_t>() <= peak + 1'000);
}
