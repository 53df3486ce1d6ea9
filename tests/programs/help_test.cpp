// --help and --version of every program.
#include <nibble/core/version.hpp>

#include "run_program.hpp"

using namespace nibble::test;

TEST_CASE("every program says its version") {
  const std::string name =
      GENERATE("bench", "generate", "quantize", "evaluate", "compare", "logits", "search");
  const Outcome outcome = run_program(name, {"--version"});
  CAPTURE(name, outcome.err);
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  CHECK(outcome.out == "nibble-" + name + " " NIBBLE_VERSION "\n");
  CHECK(nibble::library_version == NIBBLE_VERSION);
}

TEST_CASE("every program explains itself") {
  const std::string name =
      GENERATE("bench", "generate", "quantize", "evaluate", "compare", "logits");
  const Outcome outcome = run_program(name, {"--help"});
  CAPTURE(name, outcome.out);
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  for (const char* part : {"nibble-", "MODEL", "--version", "--json", "--threads", "Example"}) {
    CHECK_THAT(outcome.out, Catch::Matchers::ContainsSubstring(part));
  }
  if (name != "quantize") {
    CHECK_THAT(outcome.out, Catch::Matchers::ContainsSubstring("--activations"));
    CHECK_THAT(outcome.out, Catch::Matchers::ContainsSubstring("--kv"));
  }
}

TEST_CASE("every command of the search explains itself") {
  const std::string name = GENERATE("index", "add", "remove", "compact", "export", "import",
                                    "query", "verify", "bench", "bench-lists");
  const Outcome outcome = run_program("search", {name, "--help"});
  CAPTURE(name, outcome.out);
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  for (const char* part : {"--json", "--threads"}) {
    CHECK_THAT(outcome.out, Catch::Matchers::ContainsSubstring(part));
  }
  CHECK_THAT(run_program("search", {"--help"}).out, Catch::Matchers::ContainsSubstring(name));
}

TEST_CASE("the quickstart writes") {
  const Outcome outcome = run_program("quickstart", {shipped_model()});
  CHECK(outcome.exit_code == 0);
  CHECK(outcome.err.empty());
  CHECK(outcome.out.size() > 40);
}
