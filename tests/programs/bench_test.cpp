// nibble-bench: what it reports and what it refuses. How fast anything is decides no test.
#include <cstddef>

#include "run_program.hpp"

using namespace nibble::test;

namespace {

/// A number above zero.
bool is_positive(const nlohmann::json& number) {
  return number.is_number() && number.get<double>() > 0;
}

void check_phase(const nlohmann::json& phase, std::size_t tokens, std::size_t samples) {
  CHECK(phase["tokens"] == tokens);
  for (const char* key : {"tokens_per_second", "bytes_per_second", "macs_per_second"}) {
    CHECK(is_positive(phase[key]));
  }
  CHECK(is_positive(phase["share_of_read"]));
  REQUIRE(phase["samples"].size() == samples);
  for (const auto& sample : phase["samples"]) {
    CHECK(is_positive(sample["seconds"]));
    CHECK(is_positive(sample["read_bytes_per_second"]));
  }
}

}  // namespace

TEST_CASE("bench reports formats beside the machine's limits") {
  const auto json = run_program("bench", {shipped_model(), "--format", "float32,int3:64:asymmetric",
                                          "--prompt", "20", "--generate", "3", "--batch", "2",
                                          "--repeat", "2", "--threads", "2", "--json"})
                        .json();
  CHECK(json["program"] == "nibble-bench");
  CHECK(json["threads"] == 2);
  CHECK(json["isa"].is_string());
  CHECK(json["activations"] == "native");
  CHECK(json["kv"] == "float16");
  CHECK(json["mapped"] == false);
  CHECK(is_positive(json["limits"]["read_bytes_per_second"]));
  CHECK(is_positive(json["limits"]["float32"]["macs_per_second"]));
  CHECK(json["limits"]["float32"]["instruction"].is_string());

  REQUIRE(json["rows"].size() == 2);
  const auto& wide = json["rows"][0];
  const auto& narrow = json["rows"][1];
  CHECK(wide["format"] == "float32");
  CHECK(wide["head_format"] == "float32");
  CHECK(wide["arithmetic"] == "float32");
  CHECK(is_positive(wide["prompt"]["share_of_peak"]));
  CHECK(narrow["format"] == "int3");
  CHECK(narrow["group"] == 64);
  CHECK(narrow["asymmetric"] == true);
  CHECK(narrow["head_format"] == "int8");
  CHECK(narrow["arithmetic"] == "int8");
  // 3 bits, scales and zeros of 24 bits to 64 weights, and the head's 8 bits, against 32 bits.
  CHECK(narrow["bytes_per_token"].get<double>() >
        wide["bytes_per_token"].get<double>() * 3.375 / 32);
  CHECK(narrow["bytes_per_token"].get<double>() < wide["bytes_per_token"].get<double>() * 8.5 / 32);
  for (const auto& row : json["rows"]) {
    check_phase(row["prompt"], 20, 2);
    check_phase(row["decode"], 6, 2);
  }
}

TEST_CASE("bench runs a stored model from a mapping, one phase alone") {
  const TemporaryDirectory scratch;
  const std::string folder = scratch / "int4";
  REQUIRE(run_program("quantize", {shipped_model(), folder, "--format", "int4"}).exit_code == 0);
  const auto json = run_program("bench", {folder, "--mapped", "--prompt", "0", "--generate", "2",
                                          "--context", "0", "--repeat", "1", "--json"})
                        .json();
  CHECK(json["mapped"] == true);
  REQUIRE(json["rows"].size() == 1);
  CHECK(json["rows"][0]["format"] == "int4");
  CHECK(json["rows"][0]["prompt"].is_null());
  check_phase(json["rows"][0]["decode"], 2, 1);
  require_error("bench", {folder, "--format", "int8"}, "quantized already");
}

TEST_CASE("bench prints a table that names the setting") {
  const Outcome outcome =
      run_program("bench", {"--prompt", "4", "--generate", "0", "--repeat", "1", "--kv", "float32",
                            "--activations", "float", "--format", "int8", shipped_model()});
  INFO(outcome.err);
  CHECK(outcome.exit_code == 0);
  for (const char* part : {"float activations, float32 KV", "% of peak", "limits: read", "int8"}) {
    CHECK_THAT(outcome.out, Catch::Matchers::ContainsSubstring(part));
  }
}

TEST_CASE("bench names what it cannot run") {
  const std::string model = shipped_model();
  const std::string shape = "tinyllama-1.1b";
  require_error("bench", {}, "--shape");
  require_error("bench", {model, "--shape", shape}, "--shape");
  require_error("bench", {"--shape", "mammoth-900b"}, "mammoth-900b");
  require_error("bench", {"--shape", shape, "--format", "int8,int5"}, "int5");
  require_error("bench", {"--shape", shape, "--format", "int4:48"}, "48");
  require_error("bench", {"--shape", shape, "--format", "int4:loose"}, "loose");
  require_error("bench", {"--shape", shape, "--format", "float16:asymmetric"}, "float16");
  require_error("bench", {"--shape", shape, "--format", "int4", "--group", "48"}, "--group");
  require_error("bench", {"--shape", shape, "--format", "float32", "--asymmetric"}, "--asymmetric");
  require_error("bench", {model, "--group", "32"}, "--format");
  require_error("bench", {model, "--head-format", "int8"}, "--format");
  require_error("bench", {model, "--prompt", "0", "--generate", "0"}, "--prompt");
  require_error("bench", {model, "--prompt", "1025"}, "context of 1024");
  require_error("bench", {model, "--context", "1000"}, "context of 1024");
  require_error("bench", {model, "--batch", "0"}, "--batch");
  require_error("bench", {model, "--repeat", "0"}, "--repeat");
#if defined(__linux__)
  require_error("bench", {"--shape", shape, "--batch", "1000000000"}, "GB are free");
#endif
}
