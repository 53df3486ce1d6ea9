// nibble-search.
#include <filesystem>
#include <set>
#include <string>
#include <utility>

#include <nibble/io/update_file.hpp>

#include "run_program.hpp"

using namespace nibble::test;

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

TEST_CASE("search removes passages by id and by source") {
  const TemporaryDirectory scratch;
  const std::string index = scratch / "index", one = scratch / "one.txt", two = scratch / "two.txt";
  const auto passages = [](const std::string& word) {
    std::string text;
    for (int i = 0; i < 40; ++i) text += "The " + word + " came again to the old house, late. ";
    return text;
  };
  nibble::write_text_file(one, passages("captain"));
  nibble::write_text_file(two, passages("doctor"));
  run_program("search", {"index", index, one, two, "--model", embedding_model(), "--lists", "2"});
  const auto query = [&] {
    return run_program("search", {"query", index, "the doctor", "-k", "100", "--json"})
        .json()["results"];
  };
  const auto all = query();
  const std::string first = std::to_string(all[0]["id"].get<std::uint64_t>());
  CHECK(run_program("search", {"query", index, "the doctor", "--probes", "1"}).exit_code == 0);
  require_error("search", {"remove", index, first, "7"}, "ID 7: ");
  CHECK(query() == all);
  CHECK(run_program("search", {"remove", index, first, "--json"}).json()["removed"] == 1);
  require_error("search", {"remove", index, first}, "has no such passage");
  require_error("search", {"remove", index}, "expected an ID or --source");
  require_error("search", {"remove", index, "--source", "three.txt"}, "three.txt");
  CHECK(query().size() == all.size() - 1);
  run_program("search", {"remove", index, "--source", two});
  const auto left = query();
  CHECK(left.size() > 2);
  for (const auto& each : left) CHECK(each["source"] == one);
  run_program("search", {"add", index, two});
  CHECK(query().size() == all.size());
  CHECK(run_program("search", {"verify", index}).exit_code == 0);
}

TEST_CASE("search takes the hidden states of a decoder") {
  const TemporaryDirectory scratch;
  const std::string index = scratch / "index";
  const auto begun = run_program("search", {"index", index, shipped_text(), "--model",
                                            shipped_model(), "--pooling", "last", "--json"})
                         .json();
  CHECK(begun["dims"] == 256);
  const auto first = [&](const std::string& text) {
    return run_program("search", {"query", index, text, "-k", "1", "--json"}).json()["results"][0];
  };
  const auto found = first("an old sailor");
  // A passage is its own nearest; its score is a cosine, up to the steps of int8.
  const auto itself = first(found["text"].get<std::string>());
  CHECK(itself["id"] == found["id"]);
  CHECK(itself["score"] > 0.99);
  require_error("search",
                {"index", index, shipped_text(), "--model", shipped_model(), "--pooling", "first"},
                "--pooling");
  require_error("search",
                {"index", index, shipped_text(), "--model", shipped_model(), "--dims", "300"},
                "dims: expected 1 to 256, found 300");
}

TEST_CASE("search's errors") {
  const TemporaryDirectory scratch;
  const std::string index = scratch / "index", little = scratch / "little.txt";
  nibble::write_text_file(little, " \n");
  require_error("search", {}, "A subcommand is required");
  require_error("search", {"query", index, "text"}, "settings.json: no such file");
  require_error("search", {"query"}, "QUERY is required");
  require_error("search",
                {"index", index, shipped_text(), "--model", embedding_model(), "--lists", "100000"},
                "lists: expected 1 to");
  require_error("search", {"index", index, "nowhere.txt", "--model", embedding_model()},
                "nowhere.txt: no such file");
  require_error("search", {"index", index, little, "--model", embedding_model()},
                "holds no passage");
  require_error("search", {"index", index, shipped_text(), "--model", "nowhere"}, "nowhere");
  require_error("search",
                {"index", index, shipped_text(), "--model", embedding_model(), "--dims", "2000"},
                "dims: expected 1 to 1024, found 2000");
  nibble::write_text_file(little, "not \xFF UTF-8");
  require_error("search", {"index", index, little, "--model", embedding_model()},
                "little.txt: is not UTF-8: invalid from byte 4 on");
  const std::string foreign_name = scratch / "\xFF.txt";
  nibble::write_text_file(foreign_name, "Some text.");
  require_error("search", {"index", index, foreign_name, "--model", embedding_model()},
                "the name is not UTF-8");
  std::filesystem::create_directory(index);
  nibble::write_text_file(index + "/letter.txt", "dear");
  require_error("search", {"index", index, shipped_text(), "--model", embedding_model()},
                "not replaced, since it is no index");
  CHECK(std::filesystem::exists(index + "/letter.txt"));
  require_error("search", {"bench", "--text", shipped_text(), "--keep", "none"}, "--keep");
  require_error("search", {"bench-lists", "--rows", "100", "--lists", "101"},
                "--lists 101: expected at most the 100 rows");
}

TEST_CASE("search keeps every text, and an index from harm") {
  const TemporaryDirectory scratch;
  const std::string index = scratch / "index", note = scratch / "note.txt",
                    other = scratch / "other.txt", passages = index + "/passages.jsonl";
  nibble::write_text_file(note, "Buy bread! And call the doctor");
  nibble::write_text_file(other, "The ship left the harbour at dawn. It came back.");
  const auto begun =
      run_program("search", {"index", index, note, "--model", embedding_model(), "--json"}).json();
  CHECK(begun["added"] == 1);

  // One writer at a time.
  {
    const nibble::UpdateFile lock(index + "/settings.json");
    const char* told = "is being written by another";
    require_error("search", {"add", index, other}, told);
    require_error("search", {"remove", index, "0"}, told);
    require_error("search", {"compact", index}, told);
    require_error("search", {"index", index, other, "--model", embedding_model()}, told);
    CHECK(run_program("search", {"query", index, "bread"}).exit_code == 0);
  }

  // A writer that was killed left a line that is not whole.
  nibble::write_text_file(passages, nibble::read_text_file(passages) + "{\"source\": \"oth");
  CHECK(run_program("search", {"verify", index}).exit_code == 0);
  CHECK(run_program("search", {"add", index, other, note}).exit_code == 0);
  const auto find = [&](const std::string& text) {
    return run_program("search", {"query", index, text, "--json"}).json()["results"];
  };
  const auto found = find("The ship left the harbour at dawn.");
  REQUIRE(found.size() == 3);
  CHECK(found[0]["text"] == "The ship left the harbour at dawn. It came back.");
  CHECK(found[0]["score"] > 0.8);
  CHECK(found[1]["score"] < 0.8);  // though the index began with one vector
  CHECK(found[1]["score"] == found[2]["score"]);
  CHECK(run_program("search", {"remove", index, "0", "0", "--json"}).json()["removed"] == 1);
  CHECK(run_program("search", {"remove", index, "--source", other, "--json"}).json()["removed"] ==
        1);
  const auto compact = run_program("search", {"compact", index, "--json"}).json();
  CHECK(compact["bytes"] < compact["bytes_before"]);
  CHECK(find("bread").size() == 1);

  // What fails leaves the index as it is.
  require_error("search", {"index", index, note, "--model", "nowhere"}, "nowhere: no such folder");
  CHECK(run_program("search", {"verify", index}).exit_code == 0);
  require_error("search", {"query", index, ""}, "QUERY: holds no token");
  require_error("search", {"query", index, "\xFF"}, "QUERY: is not UTF-8");
  require_error("search", {"query", index}, "QUERY is required: ");
  const std::string lines = nibble::read_text_file(passages);
  nibble::write_text_file(passages, lines.substr(0, lines.size() - 1));
  require_error("search", {"verify", index}, "no passage begins there");
  nibble::write_text_file(passages, lines);
  auto settings = nibble::read_json_file(index + "/settings.json");
  for (const auto& [field, value] : {std::pair<const char*, nlohmann::json>{"model", "/nowhere"},
                                     {"pooling", "best"},
                                     {"dims", 2000}}) {
    auto changed = settings;
    changed[field] = value;
    nibble::write_text_file(index + "/settings.json", changed.dump());
    require_error("search", {"query", index, "bread"}, "settings.json: ");
  }
  nibble::write_text_file(index + "/settings.json", settings.dump());

  // Bits for other programs.
  require_error("search", {"export", index, (scratch / "bits.npy").string()},
                "expected plain sign bits");
  const std::string signs = scratch / "signs", bits = scratch / "bits.faiss";
  CHECK(run_program("search",
                    {"index", signs, note, other, "--bits", "0", "--model", embedding_model()})
            .exit_code == 0);
  require_error("search", {"export", signs, scratch / "bits.txt"}, "ends with .npy or .faiss");
  CHECK(run_program("search", {"export", signs, bits, "--json"}).json()["passages"] == 2);
  CHECK(nibble::read_text_file(bits).size() == 33 + 2 * 128);
  CHECK(nibble::read_text_file(bits + ".ids").starts_with("0\n"));
  for (const std::string& each : {signs, bits, bits + ".ids"}) std::filesystem::remove_all(each);

  // Begun anew.
  CHECK(run_program("search", {"index", index, other, "--model", embedding_model()}).exit_code ==
        0);
  CHECK(find("bread").size() == 1);
  std::set<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(scratch.path())) {
    left.insert(entry.path().filename().string());
  }
  CHECK(left == std::set<std::string>{"index", "note.txt", "other.txt"});
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
  CHECK(json["codes"][0]["bytes_per_row"] == 8 + 8 + 4 + 64);
  const auto& code = json["codes"][1];
  CHECK(code["bytes_per_row"] == 4 * 8 + 8 + 8 + 4 + 64);
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
             Catch::Matchers::ContainsSubstring("| sign bits | 84 |"));
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

TEST_CASE("search measures numbers of probes") {
  const auto json =
      run_program("search", {"bench-lists", "--rows", "2000", "--dims", "64", "--lists", "20",
                             "--clusters", "4", "--repeat", "1", "--json"})
          .json();
  const auto& probes = json["probes"];
  REQUIRE(probes.size() == 7);  // no lists, 1, 2, 4, 8, 16, 20
  CHECK(probes[0]["probes"] == 0);
  CHECK(probes[6]["share_of_rows_read"].get<double>() == Approx(1));
  CHECK(probes[1]["share_of_rows_read"] < 0.3);
  CHECK(probes[1]["recall_4x"] < probes[3]["recall_4x"]);
  CHECK(probes[6]["recall_4x"] > probes[0]["recall_4x"]);
  CHECK(probes[6]["recall_4x"] > 0.8);
}
