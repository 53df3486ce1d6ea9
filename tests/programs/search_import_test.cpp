// nibble-search import: an index of bits that others made.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <nibble/io/update_file.hpp>
#include <nibble/search/packed_bits_file.hpp>

#include "run_program.hpp"
#include "support/file_size_limit.hpp"

using namespace nibble::test;

namespace {

/// An index of sign bits alone, of the first passages of the shipped text.
void make_sign_index(const std::string& index, const std::string& text,
                     const std::vector<std::string>& more = {}) {
  nibble::write_text_file(text, nibble::read_text_file(shipped_text()).substr(0, 20000));
  std::vector<std::string> arguments{"index",  index, text,     "--model", embedding_model(),
                                     "--bits", "0",   "--keep", "none"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  REQUIRE(run_program("search", arguments).exit_code == 0);
}

nlohmann::json import_bits(const std::string& index, const std::string& file,
                           const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments{"import", index, file, "--model", embedding_model(), "--json"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program("search", arguments).json();
}

nlohmann::json find_in(const std::string& index, const std::string& text,
                       const std::string& query_bits = "0") {
  return run_program("search", {"query", index, text, "--query-bits", query_bits, "--json"})
      .json()["results"];
}

std::set<std::string> names_in(const TemporaryDirectory& folder) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

}  // namespace

TEST_CASE("search imports what it exported") {
  const TemporaryDirectory scratch;
  const std::string index = scratch / "index", text = scratch / "text.txt",
                    again = scratch / "again";
  const std::string dims = GENERATE("1024", "100");  // 100: the last byte of a row is not full
  make_sign_index(index, text, {"--dims", dims});
  for (const char* name : {"bits.faiss", "bits.npy"}) {
    CAPTURE(name, dims);
    const std::string bits = scratch / name;
    run_program("search", {"export", index, bits});
    const auto imported =
        import_bits(again, bits, {"--texts", index + "/passages.jsonl", "--dims", dims});
    CHECK(imported["added"] == imported["passages"]);
    CHECK(imported["passages"] > 40);
    CHECK(imported["bits"] == 0);
    CHECK(imported["dims"] == std::stoi(dims));
    CHECK(imported["agreement"] == 1);
    for (const char* file : {"/settings.json", "/passages.jsonl", "/vectors.nibble"}) {
      CAPTURE(file);
      CHECK(nibble::read_text_file(again + file) == nibble::read_text_file(index + file));
    }
    for (const char* query_bits : {"1", "4"}) {
      const auto found = find_in(again, "an old sailor with a scar", query_bits);
      CHECK(found.size() == 10);
      CHECK(found == find_in(index, "an old sailor with a scar", query_bits));
    }
  }
}

TEST_CASE("search takes an imported index as any other") {
  const TemporaryDirectory scratch;
  const std::string index = scratch / "index", text = scratch / "text.txt",
                    again = scratch / "again";
  const std::string note = scratch / "note.txt", bits = scratch / "bits.faiss";
  make_sign_index(index, text);
  run_program("search", {"export", index, bits});
  const int count =
      import_bits(again, bits, {"--texts", index + "/passages.jsonl"})["passages"].get<int>();

  const std::string id = find_in(again, "an old sailor")[0]["id"].dump();
  CHECK(run_program("search", {"remove", again, id, "--json"}).json()["passages"] == count - 1);
  nibble::write_text_file(note, "Buy bread! And call the doctor");
  CHECK(run_program("search", {"add", again, note, "--json"}).json()["passages"] == count);
  CHECK(run_program("search", {"compact", again, "--json"}).json()["passages"] == count);
  CHECK(run_program("search", {"verify", again, "--json"}).json()["passages"] == count);
  CHECK(find_in(again, "Buy bread! And call the doctor")[0]["source"] == note);
  run_program("search", {"export", again, bits});
  const nibble::ByteMatrix rows = nibble::read_faiss_binary_flat(bits);
  CHECK(rows.rows() == count);
  CHECK(rows.cols() == 128);
}

TEST_CASE("search imports the bits of others") {
  const TemporaryDirectory scratch;
  const std::string index = scratch / "index", text = scratch / "text.txt",
                    again = scratch / "again";
  const std::string bits = scratch / "bits.npy", texts = scratch / "texts.jsonl";
  make_sign_index(index, text);
  run_program("search", {"export", index, bits});
  // Of the precision "binary" of sentence-transformers.
  nibble::ByteMatrix rows = nibble::read_npy_bits(bits);
  for (std::uint8_t& byte : rows.reshaped()) {
    byte = static_cast<std::uint8_t>(nibble::to_binary(byte));
  }
  nibble::write_npy_bits(bits, rows);
  std::string bytes = nibble::read_text_file(bits);
  nibble::write_text_file(bits, bytes.replace(bytes.find("|u1"), 3, "|i1"));

  const auto numbered = import_bits(again, bits);
  CHECK(numbered["passages"] == rows.rows());
  CHECK_FALSE(numbered.contains("agreement"));
  const auto wanted = find_in(index, "an old sailor with a scar");
  const auto found = find_in(again, "an old sailor with a scar");
  REQUIRE(found.size() == wanted.size());
  const std::string lines = nibble::read_text_file(index + "/passages.jsonl");
  for (std::size_t i = 0; i < found.size(); ++i) {
    CHECK(found[i]["score"] == wanted[i]["score"]);
    CHECK(found[i]["source"] == bits);
    const auto before = lines.begin() + wanted[i]["id"].get<std::ptrdiff_t>();
    const auto row = std::count(lines.begin(), before, '\n');
    CHECK(found[i]["text"] == "row " + std::to_string(row));
  }

  // Texts without sources; the last line is not ended, and there are fields besides.
  std::string own;
  for (nibble::Index i = 0; i < rows.rows(); ++i) {
    own += nlohmann::json{{"text", "number\n" + std::to_string(i)}, {"page", i}}.dump() + "\n";
  }
  nibble::write_text_file(texts, own.substr(0, own.size() - 1));
  const double chance = import_bits(again, bits, {"--texts", texts})["agreement"].get<double>();
  CHECK(chance > 0.3);
  CHECK(chance < 0.7);
  const auto named = find_in(again, "an old sailor with a scar")[0];
  CHECK(named["source"] == texts);
  CHECK(named["text"] == "number\n" + found[0]["text"].get<std::string>().substr(4));
  const Outcome outcome = run_program(
      "search", {"import", again, bits, "--model", embedding_model(), "--texts", texts});
  CHECK(outcome.exit_code == 0);
  CHECK_THAT(outcome.out, Catch::Matchers::ContainsSubstring("% of the bits of a few passages"));
}

TEST_CASE("search refuses bits and texts that do not fit, and leaves nothing behind") {
  const TemporaryDirectory scratch;
  const std::string index = scratch / "index", text = scratch / "text.txt",
                    again = scratch / "again";
  const std::string bits = scratch / "bits.faiss", texts = index + "/passages.jsonl",
                    other = scratch / "other.npy";
  make_sign_index(index, text);
  run_program("search", {"export", index, bits});
  const auto before = names_in(scratch);
  const std::string saved = nibble::read_text_file(bits);
  const std::string count = std::to_string((saved.size() - 33) / 128);
  const auto require_refusal = [&](const std::string& file, const std::vector<std::string>& more,
                                   const std::string& culprit) {
    std::vector<std::string> arguments{"import", again, file};
    arguments.insert(arguments.end(), more.begin(), more.end());
    if (std::ranges::find(more, "--model") == more.end()) {
      arguments.insert(arguments.end(), {"--model", embedding_model()});
    }
    require_error("search", arguments, culprit);
  };

  // The texts.
  const std::string lines = nibble::read_text_file(texts), own = scratch / "own.jsonl";
  const auto require_texts_refused = [&](const std::string& content, const std::string& culprit) {
    nibble::write_text_file(own, content);
    require_refusal(bits, {"--texts", own}, culprit);
  };
  require_texts_refused(lines.substr(lines.find('\n') + 1),
                        "own.jsonl: holds " + std::to_string(std::stoi(count) - 1) +
                            " passages, expected " + count + ", one for each row of " + bits);
  require_texts_refused(
      lines + "{\"text\": \"more\"}\n",
      "holds " + std::to_string(std::stoi(count) + 1) + " passages, expected " + count);
  require_texts_refused("{\"text\": \"one\"}\nThe second passage\n",
                        "own.jsonl: JSON line 2: byte");
  require_texts_refused("{\"text\": \"one\"}\n{\"passage\": \"two\"}\n",
                        "own.jsonl: JSON line 2: field 'text': missing");
  require_texts_refused("{\"text\": \"\xFF\"}\n", "own.jsonl: JSON line 1: byte");
  require_texts_refused("[]\n", "own.jsonl: JSON line 1: expected an object");
  require_texts_refused("", "own.jsonl: the file is empty");
  require_refusal(bits, {"--texts", "nowhere.jsonl"}, "nowhere.jsonl: no such file");
  std::filesystem::remove(own);

  // The model.
  require_refusal(
      bits, {"--dims", "512"},
      bits + ": rows of 1024 bits, expected 512 for 512 dimensions of " + embedding_model());
  require_refusal(bits, {"--model", shipped_model()},
                  "expected 256 for 256 dimensions of " + shipped_model());
  require_refusal(bits, {"--dims", "1023"}, "has bits beyond 1023 dimensions");
  require_refusal(bits, {"--dims", "2000"}, "dims: expected 1 to 1024, found 2000");
  require_refusal(bits, {"--model", "nowhere"}, "nowhere: no such folder");

  // The bits.
  require_refusal(scratch / "bits.txt", {},
                  "bits.txt: expected a name that ends with .npy or .faiss");
  require_refusal(scratch / "none.npy", {}, "none.npy: no such file");
  nibble::write_text_file(other, saved);
  require_refusal(other, {}, "other.npy: is not an .npy file");
  nibble::write_npy_bits(other, nibble::ByteMatrix(0, 128));
  require_refusal(other, {}, "other.npy: holds no rows");
  std::filesystem::remove(other);
  nibble::write_text_file(bits, saved.substr(0, saved.size() - 1));
  require_refusal(bits, {}, "bits.faiss: ");
  nibble::write_text_file(bits, "IBMp" + saved.substr(4));
  require_refusal(bits, {}, "bits.faiss: expected an IndexBinaryFlat (IBxF), found \"IBMp\"");
  nibble::write_text_file(bits, saved);

  // The folder.
  CHECK(names_in(scratch) == before);
  std::filesystem::create_directory(again);
  nibble::write_text_file(again + "/letter.txt", "dear");
  require_refusal(bits, {}, "not replaced, since it is no index");
  CHECK(nibble::read_text_file(again + "/letter.txt") == "dear");
  std::filesystem::remove_all(again);
  const std::vector<std::string> over{"import",         index, bits, "--texts", texts, "--model",
                                      embedding_model()};
  {
    const nibble::UpdateFile lock(index + "/settings.json");
    require_error("search", over, "is being written by another");
  }
  const std::string vectors = nibble::read_text_file(index + "/vectors.nibble");
  {
    const FileSizeLimit limit(4096);
    require_error("search", over, "cannot be written");
    require_refusal(bits, {}, "cannot be written");
  }
  CHECK(nibble::read_text_file(index + "/vectors.nibble") == vectors);
  CHECK(run_program("search", {"verify", index}).exit_code == 0);
  CHECK(names_in(scratch) == before);
  CHECK(run_program("search", over).exit_code == 0);  // in place of the index that it came from
  CHECK(nibble::read_text_file(index + "/vectors.nibble") == vectors);
  CHECK(names_in(scratch) == before);
}
