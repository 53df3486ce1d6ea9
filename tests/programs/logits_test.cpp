// nibble-logits.
#include <algorithm>
#include <cmath>
#include <cstring>

#include <nibble/io/safetensors.hpp>

#include "run_program.hpp"

using namespace nibble::test;

TEST_CASE("logits are those of the PyTorch reference") {
  const auto expected =
      nibble::SafetensorsFile::open(source_path("tests/data/novella-5m.logits.safetensors"));
  const nibble::TensorView input_ids = expected.at("input_ids");
  std::string ids;
  for (nibble::Index i = 0; i < input_ids.elements(); ++i) {
    std::int32_t id = 0;
    std::memcpy(&id, input_ids.data.data() + 4 * i, 4);
    ids += (i == 0 ? "" : ",") + std::to_string(id);
  }
  const TemporaryDirectory scratch;
  const std::string file = scratch / "logits.safetensors";
  const auto json = run_program("logits", {shipped_model(), "--ids", ids, "--out", file,
                                           "--activations", "float", "--kv", "float32", "--json"})
                        .json();
  CHECK(json["tokens"] == input_ids.elements());

  const auto written = nibble::SafetensorsFile::open(file);
  CHECK(std::ranges::equal(written.at("input_ids").data, input_ids.data));
  CHECK(std::ranges::equal(written.at("logits").shape(), expected.at("logits").shape()));
  const auto ours = nibble::read_floats(written.at("logits"));
  const auto theirs = nibble::read_floats(expected.at("logits"));
  REQUIRE(ours.size() == theirs.size());
  float largest = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    largest = std::max(largest, std::abs(ours[i] - theirs[i]));
  }
  CHECK(largest <= 1e-3F);
}

TEST_CASE("logits of a text, and with frequencies in bfloat16") {
  const TemporaryDirectory scratch;
  const auto run = [&](const std::string& name, const std::string& frequencies) {
    const std::string file = scratch / name;
    const Outcome outcome =
        run_program("logits", {shipped_model(), "--text", "It was a dark night", "--out", file,
                               "--rope-frequencies", frequencies});
    CHECK(outcome.exit_code == 0);
    return nibble::read_floats(nibble::SafetensorsFile::open(file).at("logits"));
  };
  const auto exact = run("exact", "float32");
  const auto rounded = run("rounded", "bfloat16");
  CHECK(exact.size() == rounded.size());
  CHECK(exact != rounded);
}
