// nibble-search.
#include <string>

#include "run_program.hpp"

using namespace nibble::test;

namespace {

std::string embedding_model() {
  return source_path("examples/models/novella-embed").string();
}

}  // namespace

TEST_CASE("search finds passages of indexed and added texts") {
  const TemporaryDirectory scratch;
  const std::string index = scratch / "index", more = scratch / "more.txt";
  const auto begun = run_program("search", {"index", index, shipped_text(), "--model",
                                            embedding_model(), "--json"})
                         .json();
  CHECK(begun["passages"] == begun["added"]);
  CHECK(begun["passages"] > 100);
  CHECK(begun["dims"] == 1024);

  const std::string sentence =
      "The professor of mathematics wrote long equations on the blackboard, and the students "
      "copied them without a word.";
  const std::string passage = sentence + " " + sentence + " " + sentence;
  nibble::write_text_file(more, passage + "\n");
  const auto added = run_program("search", {"add", index, more, "--json"}).json();
  CHECK(added["added"] == 1);
  CHECK(added["passages"] == begun["passages"].get<int>() + 1);

  const auto found = run_program("search", {"query", index, "a lesson in mathematics for students",
                                            "-k", "3", "--json"})
                         .json();
  REQUIRE(found["results"].size() == 3);
  CHECK(found["results"][0]["source"] == more);
  CHECK(found["results"][0]["text"] == passage);
  CHECK(found["results"][0]["score"] >= found["results"][1]["score"]);

  const Outcome people = run_program("search", {"query", index, "an old sailor with a scar"});
  CHECK(people.exit_code == 0);
  CHECK_THAT(people.out, Catch::Matchers::ContainsSubstring("treasure_island.txt"));

  CHECK(run_program("search", {"verify", index, "--json"}).json()["passages"] == added["passages"]);
  std::string bytes = nibble::read_text_file(index + "/vectors.nibble");
  bytes[bytes.size() - 100] = static_cast<char>(bytes[bytes.size() - 100] ^ 1);
  nibble::write_text_file(index + "/vectors.nibble", bytes);
  require_error("search", {"verify", index}, "are damaged");
}

TEST_CASE("search's errors") {
  const TemporaryDirectory scratch;
  const std::string index = scratch / "index", little = scratch / "little.txt";
  nibble::write_text_file(little, "Too little.");
  require_error("search", {}, "A subcommand is required");
  require_error("search", {"query", index, "text"}, "settings.json: no such file");
  require_error("search", {"index", index, "nowhere.txt", "--model", embedding_model()},
                "nowhere.txt: no such file");
  require_error("search", {"index", index, little, "--model", embedding_model()},
                "holds no passage");
  require_error("search", {"index", index, shipped_text(), "--model", "nowhere"}, "nowhere");
  require_error("search",
                {"index", index, shipped_text(), "--model", embedding_model(), "--dims", "2000"},
                "dims: expected 1 to 1024, found 2000");
}

TEST_CASE("search measures itself on made vectors") {
  const TemporaryDirectory scratch;
  const std::string out = scratch / "out";
  const auto json =
      run_program("search", {"bench", "--rows", "1000", "--dims", "64", "--bits", "0,4",
                             "--clusters", "20", "--repeat", "1", "--output", out, "--json"})
          .json();
  CHECK(json["rows"] == 1000);
  REQUIRE(json["codes"].size() == 2);
  CHECK(json["codes"][0]["bytes_per_row"] == 8 + 8 + 64);
  const auto& code = json["codes"][1];
  CHECK(code["bytes_per_row"] == 4 * 8 + 8 + 8 + 64);
  CHECK(code["scanned_bytes_per_row"] == 4 * 8 + 8);
  CHECK(code["recall"] > 0.5);
  CHECK(code["recall_4x"] >= code["recall"]);
  for (const char* key : {"adds_per_second", "open_seconds", "seconds_per_query",
                          "seconds_per_query_of_64", "share_of_read_bandwidth"}) {
    CAPTURE(key);
    CHECK(code[key] > 0);
  }
  CHECK(nibble::parse_json(nibble::read_text_file(out + "/bench.json"), "bench.json") == json);
  CHECK_THAT(nibble::read_text_file(out + "/bench.md"),
             Catch::Matchers::ContainsSubstring("| sign bits | 80 |"));
  CHECK_THAT(nibble::read_text_file(out + "/bench.svg"),
             Catch::Matchers::ContainsSubstring("recall@10"));
}

TEST_CASE("search measures recall on a text") {
  const TemporaryDirectory scratch;
  const std::string text = scratch / "text.txt";
  nibble::write_text_file(text, nibble::read_text_file(shipped_text()).substr(0, 60000));
  const auto json =
      run_program("search", {"bench", "--text", text, "--model", embedding_model(), "--dims", "128",
                             "--bits", "1", "--seeds", "2", "--json"})
          .json();
  CHECK(json["rows"] > 100);
  CHECK(json["dims"] == 128);
  const auto& code = json["codes"][0];
  CHECK(code["recall"] > 0.4);
  CHECK(code["recall_deviation"] > 0);
  CHECK(code["recall_2x"] > code["recall"]);
  CHECK(code["recall_4x"] > code["recall_2x"]);
}
