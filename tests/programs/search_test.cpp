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

TEST_CASE("search measures itself") {
  const auto json = run_program("search", {"bench", "--rows", "1000", "--dims", "64", "--bits", "4",
                                           "--clusters", "20", "--json"})
                        .json();
  CHECK(json["rows"] == 1000);
  CHECK(json["bytes_per_row"] == 4 * 8 + 8 + 8 + 64);
  CHECK(json["recall"] > 0.5);
  CHECK(json["seconds_per_query"] > 0);
  CHECK(json["share_of_read_bandwidth"] > 0);
}
