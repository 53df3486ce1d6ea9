// nibble-compare: the table, the JSON object and the plot.
#include <algorithm>
#include <string_view>

#include "run_program.hpp"

using namespace nibble::test;
using nibble::read_json_file;
using nibble::read_text_file;

namespace {

/// Whether tags nest and attributes are quoted: enough to catch what a plot could get wrong.
bool is_well_formed(std::string_view xml) {
  std::vector<std::string> open;
  bool any = false;
  while (!xml.empty()) {
    const std::size_t start = xml.find('<');
    const std::string_view text = xml.substr(0, start);
    if (open.empty() && text.find_first_not_of(" \n") != text.npos) return false;
    for (std::size_t at = text.find('&'); at != text.npos; at = text.find('&', at + 1)) {
      const std::string_view entity = text.substr(at, text.find(';', at) - at);
      if (entity != "&amp" && entity != "&lt" && entity != "&gt") return false;
    }
    if (start == xml.npos) break;
    const std::size_t end = xml.find('>', start);
    if (end == xml.npos) return false;
    const std::string_view tag = xml.substr(start + 1, end - start - 1);
    xml.remove_prefix(end + 1);
    if (std::ranges::count(tag, '"') % 2 != 0 || tag.find('<') != tag.npos) return false;
    const std::string name(tag.substr(0, tag.find_first_of(" \n/", 1)));
    if (tag.front() == '/') {
      if (open.empty() || open.back() != tag.substr(1)) return false;
      open.pop_back();
    } else if (tag.back() != '/') {
      if (open.empty() && any) return false;
      open.push_back(name);
    }
    any = true;
  }
  return any && open.empty();
}

}  // namespace

TEST_CASE("well-formed XML is told from what is not") {
  CHECK(is_well_formed("<a><b c=\"d\"/>e &amp; f</a>\n"));
  CHECK_FALSE(is_well_formed("<a><b></a>"));
  CHECK_FALSE(is_well_formed("<a>e & f</a>"));
  CHECK_FALSE(is_well_formed("<a b=\"c></a>"));
}

TEST_CASE("compare writes table, JSON and plot") {
  const TemporaryDirectory scratch;
  make_changed_model(scratch / "a model & more", {{"max_position_embeddings", 64}});
  const std::string out = scratch / "out";
  const Outcome outcome = run_program(
      "compare", {scratch / "a model & more", shipped_text(), "--windows", "1", "--output", out});
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK_THAT(outcome.err, Catch::Matchers::ContainsSubstring("native activations, float16 KV"));
  std::size_t widest = 0;
  std::size_t line = 0;
  for (std::size_t at = 0; at < outcome.out.size(); at = line + 1) {
    line = outcome.out.find('\n', at);
    widest = std::max(widest, line - at);
  }
  CHECK(widest <= 100);

  const auto json = read_json_file(out + "/compare.json");
  REQUIRE(json["rows"].size() == 8);
  const char* formats[] = {"float32", "bfloat16", "float16", "zero-one-int8",
                           "int8",    "int4",     "int3",    "int2"};
  double size = 1e12;
  for (std::size_t i = 0; i < 8; ++i) {
    const auto& row = json["rows"][i];
    CHECK(row["format"] == formats[i]);
    CHECK_THAT(outcome.out, Catch::Matchers::ContainsSubstring(formats[i]));
    CHECK(row["file_size"].get<double>() <= 1.01 * size);
    size = row["file_size"].get<double>();
    for (const char* key : {"bits_per_weight", "perplexity", "top1_agreement",
                            "prompt_tokens_per_second", "decode_tokens_per_second"}) {
      CHECK(row[key].get<double>() > 0);
    }
    CHECK(row["kl_divergence"].get<double>() > -1e-6);
  }
  CHECK(json["rows"][0]["kl_divergence"].get<double>() < 1e-4);
  CHECK(json["rows"][7]["kl_divergence"].get<double>() > 0.1);
  CHECK(json["kv"] == "float16");

  const std::string plot = read_text_file(out + "/compare.svg");
  CHECK(is_well_formed(plot));
  CHECK_THAT(plot, Catch::Matchers::ContainsSubstring("a model &amp; more"));
  CHECK_THAT(plot, Catch::Matchers::ContainsSubstring("prefers-color-scheme: dark"));
  for (const char* format : formats) CHECK_THAT(plot, Catch::Matchers::ContainsSubstring(format));
  CHECK_THAT(read_text_file(out + "/compare.md"), Catch::Matchers::ContainsSubstring("| ---: |"));
}

TEST_CASE("compare takes some of the formats") {
  const TemporaryDirectory scratch;
  make_changed_model(scratch / "model", {{"max_position_embeddings", 32}});
  const auto json = run_program("compare", {scratch / "model", shipped_text(), "--windows", "1",
                                            "--formats", "int4,float16", "--json"})
                        .json();
  REQUIRE(json["rows"].size() == 2);
  CHECK(json["rows"][0]["format"] == "float16");
  CHECK(json["rows"][1]["format"] == "int4");
  CHECK(json["rows"][1]["group"] == 128);
  CHECK(json["windows"] == 1);
}
