// README and docs/ hold what they say: snippets are parts of compiled files, commands run, JSON
// parses, links lead somewhere.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include <nibble/io/json.hpp>
#include <nibble/io/text_file.hpp>
#include <nibble/model/recipe.hpp>

#include "support/catch.hpp"
#include "support/fixtures.hpp"

namespace fs = std::filesystem;

namespace {

/// A fenced block of a Markdown file.
struct Block {
  std::string file;
  std::string language;
  std::string note;  // the HTML comment on the line before it
  std::vector<std::string> lines;
};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t start = 0;
  while (start < text.size()) {
    const std::size_t end = std::min(text.find('\n', start), text.size());
    lines.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return lines;
}

std::string trimmed(const std::string& line) {
  const std::size_t first = line.find_first_not_of(' ');
  return first == std::string::npos ? std::string() : line.substr(first);
}

std::vector<fs::path> documents() {
  std::vector<fs::path> files{nibble::test::source_path("README.md")};
  for (const auto& entry : fs::directory_iterator(nibble::test::source_path("docs"))) {
    if (entry.path().extension() == ".md") files.push_back(entry.path());
  }
  return files;
}

std::vector<Block> blocks_in(const std::string& language) {
  std::vector<Block> blocks;
  for (const fs::path& file : documents()) {
    const auto lines = lines_of(nibble::read_text_file(file));
    for (std::size_t i = 0; i < lines.size(); ++i) {
      if (!lines[i].starts_with("```")) continue;
      Block block{file.filename().string(), lines[i].substr(3), "", {}};
      if (i > 0 && lines[i - 1].starts_with("<!-- ")) {
        block.note = lines[i - 1].substr(5, lines[i - 1].size() - 5 - 4);
      }
      while (++i < lines.size() && !lines[i].starts_with("```")) block.lines.push_back(lines[i]);
      if (block.language == language) blocks.push_back(block);
    }
  }
  return blocks;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += trimmed(line) + "\n";
  return text;
}

}  // namespace

TEST_CASE("C++ snippets are parts of files that are compiled") {
  const auto blocks = blocks_in("cpp");
  REQUIRE(!blocks.empty());
  for (const Block& block : blocks) {
    INFO(block.file << ": snippet of " << block.note);
    REQUIRE(!block.note.empty());
    const auto source = lines_of(nibble::read_text_file(nibble::test::source_path(block.note)));
    CHECK(joined(source).find(joined(block.lines)) != std::string::npos);
  }
}

TEST_CASE("commands run in a folder with the examples") {
  const auto blocks = blocks_in("sh");
  REQUIRE(!blocks.empty());
  for (const Block& block : blocks) {
    if (block.note.starts_with("not run: ")) continue;
    const nibble::test::TemporaryDirectory folder;
    fs::create_directory_symlink(nibble::test::source_path("examples"), folder.path() / "examples");
    {
      std::ofstream script(folder.path() / "script.sh");
      script << "set -euo pipefail\ncd \"" << folder.path().string() << "\"\nexport PATH=\""
             << NIBBLE_PROGRAM_DIR << ":$PATH\"\n";
      for (const std::string& line : block.lines) script << line << "\n";
    }
    const auto log = folder.path() / "log.txt";
    const std::string command = "bash \"" + (folder.path() / "script.sh").string() + "\" >\"" +
                                log.string() + "\" 2>&1 </dev/null";
    const int status = std::system(command.c_str());
    INFO(block.file << ":\n" << joined(block.lines) << nibble::read_text_file(log));
    CHECK(status == 0);
  }
}

TEST_CASE("JSON is valid, and recipes are recipes") {
  for (const Block& block : blocks_in("json")) {
    INFO(block.file);
    const auto json = nibble::parse_json(joined(block.lines), block.file);
    if (json.contains("rules")) CHECK_FALSE(nibble::parse_recipe(json, block.file).rules.empty());
  }
}

TEST_CASE("links to files lead somewhere") {
  for (const fs::path& file : documents()) {
    std::string text;  // without the fenced blocks
    bool fenced = false;
    for (const std::string& line : lines_of(nibble::read_text_file(file))) {
      if (line.starts_with("```")) fenced = !fenced;
      if (!fenced) text += line + "\n";
    }
    for (std::size_t at = text.find("]("); at != std::string::npos; at = text.find("](", at + 1)) {
      std::string target = text.substr(at + 2, text.find(')', at) - at - 2);
      target = target.substr(0, target.find('#'));
      if (target.empty() || target.find("://") != std::string::npos) continue;
      INFO(file.filename().string() << ": " << target);
      CHECK(fs::exists(file.parent_path() / target));
    }
  }
}
