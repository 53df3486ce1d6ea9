// Starts a program with arguments as they are (no shell) and collects what it says.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/io/json.hpp>
#include <nibble/io/output_file.hpp>
#include <nibble/io/text_file.hpp>

#include "support/catch.hpp"
#include "support/fixtures.hpp"

namespace nibble::test {

struct Outcome {
  int exit_code = -1;  // -1: it did not end by itself
  std::string out, err;

  /// The JSON object that stdout is, and nothing besides.
  [[nodiscard]] nlohmann::json json() const {
    INFO(err);
    REQUIRE(exit_code == 0);
    return parse_json(out, "stdout");
  }
};

/// The shipped models and text.
inline std::string shipped_model() {
  return source_path("examples/models/novella-5m").string();
}
inline std::string embedding_model() {
  return source_path("examples/models/novella-embed").string();
}
inline std::string shipped_text() {
  return source_path("examples/texts/treasure_island.txt").string();
}

/// Runs nibble-<name>, with `input` as its stdin.
inline Outcome run_program(const std::string& name, std::vector<std::string> arguments,
                           const std::string& input = {}) {
  const TemporaryDirectory scratch;
  const std::string in = scratch / "in", out = scratch / "out", err = scratch / "err";
  write_text_file(in, input);
  std::vector<std::string> command{NIBBLE_EMULATOR};  // empty unless cross-compiled
  command.push_back((std::filesystem::path(NIBBLE_PROGRAMS_DIR) / ("nibble-" + name)).string());
  arguments.insert(arguments.begin(), command.begin(), command.end());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const auto redirect = [](const std::string& path, int flags, int to) {
      const int descriptor = ::open(path.c_str(), flags, 0600);
      if (descriptor < 0 || ::dup2(descriptor, to) < 0) ::_exit(127);
    };
    redirect(in, O_RDONLY, 0);
    redirect(out, O_WRONLY | O_CREAT, 1);
    redirect(err, O_WRONLY | O_CREAT, 2);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_text_file(out), read_text_file(err)};
}

/// Runs a program that must fail: exit code 1, one line "error: ..." that holds `culprit`, and
/// nothing on stdout.
inline void require_error(const std::string& name, const std::vector<std::string>& arguments,
                          const std::string& culprit, const std::string& input = {}) {
  const Outcome outcome = run_program(name, arguments, input);
  CAPTURE(name, arguments, outcome.err);
  CHECK(outcome.exit_code == 1);
  CHECK(outcome.out.empty());
  CHECK(outcome.err.rfind("error: ", 0) == 0);
  CHECK(outcome.err.find('\n') == outcome.err.size() - 1);
  CHECK_THAT(outcome.err, Catch::Matchers::ContainsSubstring(culprit));
}

/// A copy of the shipped model with fields of its config changed: a shorter context for tests that
/// go to its end, fewer layers for tests of what takes long.
inline void make_changed_model(const std::filesystem::path& folder, const nlohmann::json& fields) {
  std::filesystem::create_directory(folder);
  for (const char* name : {"model.safetensors", "tokenizer.json", "generation_config.json"}) {
    std::filesystem::create_symlink(shipped_model() + "/" + name, folder / name);
  }
  nlohmann::json config = read_json_file(shipped_model() + "/config.json");
  config.update(fields);
  write_text_file(folder / "config.json", config.dump());
}

}  // namespace nibble::test
