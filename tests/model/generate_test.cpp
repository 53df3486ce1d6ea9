#include <nibble/model/generate.hpp>

#include "io/io_test_support.hpp"
#include "support/tiny_model.hpp"
#include "text/small_tokenizer.hpp"

namespace nibble {
namespace {

using namespace test;

/// All text that comes out, with `|` where one call ended.
std::string pieces_of(const std::vector<std::string>& stops,
                      const std::vector<std::string>& texts) {
  StopStrings finder(stops);
  std::string out;
  for (const std::string& text : texts) {
    out += finder.add(text);
    out += finder.found() ? "!" : "|";
  }
  return out + std::string(finder.flush());
}

TEST_CASE("stop strings hold back what they may begin with, and nothing else") {
  CHECK(pieces_of({}, {"ab", "c"}) == "ab|c|");
  CHECK(pieces_of({""}, {"ab"}) == "ab|");
  CHECK(pieces_of({"xyz"}, {"abx", "y", "a"}) == "ab||xya|");
  CHECK(pieces_of({"xyz"}, {"abx", "y"}) == "ab||xy");
  CHECK(pieces_of({"xyz"}, {"abx", "y", "zc", "more"}) == "ab||!!");
  CHECK(pieces_of({"xyz"}, {"axyzbxyz"}) == "a!");
  CHECK(pieces_of({"xyz", "b"}, {"axyzb"}) == "a!");
  CHECK(pieces_of({"cd", "bcde"}, {"abc", "d"}) == "a|b!");  // what is complete first
  CHECK(pieces_of({"aab"}, {"a", "a", "a", "b"}) == "||a|!");
  CHECK(pieces_of({"a"}, {"", "", "ba"}) == "||b!");
}

TEST_CASE("stop strings agree with a search in the whole text, however it is cut") {
  unsigned state = 1;
  const auto random = [&](unsigned limit) {
    state = state * 1664525U + 1013904223U;
    return (state >> 16) % limit;
  };
  const std::vector<std::string> stops{"aab", "ba", "abab"};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (unsigned i = 0; i < 12; ++i) text += "abcc"[random(4)];
    std::size_t cut = std::string::npos;
    std::size_t end = std::string::npos;  // of the first that is complete
    for (const std::string& stop : stops) {
      const std::size_t at = text.find(stop);
      if (at == std::string::npos) continue;
      if (at + stop.size() < end || (at + stop.size() == end && at < cut)) {
        cut = at;
        end = at + stop.size();
      }
    }
    StopStrings finder(stops);
    std::string out;
    for (const char c : text) {
      out += finder.add(std::string_view(&c, 1));
      if (finder.found()) break;
    }
    out += finder.flush();
    if (out != text.substr(0, cut) || finder.found() != (cut != std::string::npos)) {
      CAPTURE(text, out, cut);
      FAIL("differs");
    }
  }
}

/// A model over bytes (tokens 0 to 255), and everything that generating with it takes.
struct Machine {
  TinyFolder folder{{.patch = {{"vocab_size", 256}, {"max_position_embeddings", 128}}, .seed = 11}};
  ThreadPool pool{2};
  Decoder decoder = loaded(folder.open(), pool);
  Tokenizer tokenizer = make_tokenizer(small_tokenizer());
  Workspace workspace{pool};
  std::vector<TokenId> prompt{72, 101, 108};

  Session session(Index positions = 128) const { return decoder.make_session(positions); }
  Generation run(const GenerateOptions& options, Session& session, const OnToken& on_token = {}) {
    return generate(decoder, tokenizer, prompt, session, workspace, options, on_token);
  }
  Generation run(const GenerateOptions& options, const OnToken& on_token = {}) {
    Session fresh = session();
    return run(options, fresh, on_token);
  }
  /// Twenty tokens of a seed whose texts vary.
  GenerateOptions sampled(Index tokens = 20) const {
    GenerateOptions options;
    options.max_tokens = tokens;
    options.sampling = {.temperature = 2, .seed = 4};
    return options;
  }
};

TEST_CASE("greedy generation is what the logits of the whole sequence say") {
  Machine machine;
  GenerateOptions options;
  options.max_tokens = 12;
  const Generation result = machine.run(options);
  REQUIRE(result.ids.size() == 12);
  CHECK(result.stop == StopReason::Length);
  CHECK(result.prompt_seconds >= 0);
  CHECK(result.generate_seconds >= 0);
  std::vector<TokenId> ids = machine.prompt;
  for (const TokenId id : result.ids) {
    const Matrix logits = logits_of(machine.decoder, ids, machine.pool);
    const auto last = logits.row(logits.rows() - 1);
    CHECK(most_likely({last.data(), static_cast<std::size_t>(last.size())}) == id);
    ids.push_back(id);
  }
}

TEST_CASE("the prompt's chunks do not change what is generated") {
  Machine machine;
  for (int i = 0; i < 60; ++i) machine.prompt.push_back(static_cast<TokenId>(97 + i % 26));
  GenerateOptions options = machine.sampled();
  const Generation whole = machine.run(options);
  for (const Index chunk : {1, 7, 63, 64}) {
    options.prompt_chunk = chunk;
    CHECK(machine.run(options).ids == whole.ids);
  }
}

TEST_CASE("the streamed pieces are the text, and the text is the ids decoded") {
  Machine machine;
  std::string streamed;
  std::vector<TokenId> ids;
  const Generation result =
      machine.run(machine.sampled(60), [&](TokenId id, std::string_view text) {
        if (ids.empty() || ids.size() < 60) ids.push_back(id);
        streamed += text;
        return true;
      });
  CHECK(ids == result.ids);
  CHECK(streamed == result.text);
  CHECK(result.text == machine.tokenizer.decode(result.ids));
}

TEST_CASE("ids of a padded vocabulary, which name no token, are never drawn") {
  Machine machine;
  const TinyFolder padded(
      {.patch = {{"vocab_size", 2000}, {"max_position_embeddings", 128}}, .seed = 11});
  machine.decoder = loaded(padded.open(), machine.pool);
  const Generation result = machine.run(machine.sampled(60));
  REQUIRE(result.ids.size() == 60);
  for (const TokenId id : result.ids) CHECK(id < machine.tokenizer.vocab_size());
}

TEST_CASE("a stop id ends the text and is no part of it") {
  Machine machine;
  const Generation all = machine.run(machine.sampled());
  GenerateOptions options = machine.sampled();
  const TokenId stop = all.ids[7];
  options.stop_ids = {12345, stop};
  Session session = machine.session();
  const Generation result = machine.run(options, session);
  CHECK(result.stop == StopReason::StopId);
  const auto first = std::find(all.ids.begin(), all.ids.end(), stop);
  CHECK(result.ids == std::vector<TokenId>(all.ids.begin(), first));
  CHECK(result.text == machine.tokenizer.decode(result.ids));
  CHECK(session.position() == static_cast<Index>(3 + result.ids.size()));  // all are in it
}

TEST_CASE("no tokens, one token") {
  Machine machine;
  for (const Index count : {0, 1}) {
    int calls = 0;
    Session session = machine.session();
    const Generation result = machine.run(machine.sampled(count), session,
                                          [&](TokenId, std::string_view) { return ++calls > 0; });
    CHECK(static_cast<Index>(result.ids.size()) == count);
    CHECK(result.stop == StopReason::Length);
    CHECK(calls >= static_cast<int>(count));
    CHECK(session.position() == 3);
  }
}

TEST_CASE("a stop string across tokens is cut off, and nothing of it is handed out before") {
  Machine machine;
  // Texts of single ASCII bytes, so that every token is a character.
  machine.prompt = {72};
  GenerateOptions options;
  std::string text;
  for (std::uint64_t seed = 0; text.size() < 12; ++seed) {
    options.sampling = {.temperature = 2, .seed = seed};
    options.max_tokens = 40;
    text = machine.run(options).text;
    std::size_t plain = 0;
    const auto is_ascii = [](char c) { return c > 0 && static_cast<unsigned char>(c) < 128; };
    while (plain < text.size() && is_ascii(text[plain])) ++plain;
    text.resize(plain);
    REQUIRE(seed < 2000);
  }
  const std::string stop = text.substr(6, 4);
  const std::size_t at = text.find(stop);
  options.stop_strings = {"never", stop};
  std::string streamed;
  const Generation result = machine.run(options, [&](TokenId, std::string_view piece) {
    streamed += piece;
    return true;
  });
  CHECK(result.stop == StopReason::StopString);
  CHECK(result.text == text.substr(0, at));
  CHECK(streamed == result.text);
  CHECK(result.ids.size() == at + stop.size());

  // Held back at the end, since it might have become a stop string.
  options.stop_strings = {text.substr(4, 3) + "\x01\x02"};
  options.max_tokens = 6;
  const Generation cut = machine.run(options);
  CHECK(cut.stop == StopReason::Length);
  CHECK(cut.text == text.substr(0, 6));
}

TEST_CASE("the callback can end a generation") {
  Machine machine;
  int calls = 0;
  const Generation result =
      machine.run(machine.sampled(), [&](TokenId, std::string_view) { return ++calls < 5; });
  CHECK(result.stop == StopReason::Cancelled);
  CHECK(calls == 5);
  CHECK(result.ids.size() == 5);
}

TEST_CASE("a full context ends a generation") {
  Machine machine;
  Session session = machine.session();
  const Generation result = machine.run(machine.sampled(1000), session);
  CHECK(result.stop == StopReason::Context);
  CHECK(result.ids.size() == 126);  // the last one's position would be the 129th
  CHECK(session.position() == 128);

  machine.prompt.assign(128, 65);
  const Generation one = machine.run(machine.sampled());
  CHECK(one.stop == StopReason::Context);
  CHECK(one.ids.size() == 1);
}

TEST_CASE("a session goes on where it was") {
  Machine machine;
  GenerateOptions options;
  options.max_tokens = 5;
  Session session = machine.session();
  const Generation first = machine.run(options, session);
  const std::vector<TokenId> start = machine.prompt;
  machine.prompt = {first.ids.back(), 33};  // its last token was not taken in yet
  const Generation second = machine.run(options, session);
  machine.prompt = start;
  machine.prompt.insert(machine.prompt.end(), first.ids.begin(), first.ids.end());
  machine.prompt.push_back(33);
  CHECK(machine.run(options).ids == second.ids);
}

TEST_CASE("what cannot be generated is refused by name, and the session is as it was") {
  Machine machine;
  Session session = machine.session();
  const TokenId before[] = {9, 8, 7, 6};
  const Slice slice{&session, before, LogitRows::None};
  static_cast<void>(machine.decoder.forward({&slice, 1}, machine.workspace));
  const auto refused = [&](const std::vector<TokenId>& prompt, const GenerateOptions& options,
                           const std::string& message) {
    machine.prompt = prompt;
    REQUIRE_ERROR(machine.run(options, session), message);
    CHECK(session.position() == 4);
  };
  GenerateOptions options;
  refused({}, options, "the prompt is empty");
  refused(std::vector<TokenId>(125, 1), options,
          "a prompt of 125 tokens at position 4 is longer than the model's context of 128");
  options.prompt_chunk = 2;
  refused({1, 2, 3, 256}, options, "token id 256 is outside the vocabulary of 256");
  refused({1, 2, 3, -5}, options, "token id -5 is outside");
  options.prompt_chunk = 0;
  refused({1}, options, "prompt_chunk: expected 1 or more, found 0");
  options.prompt_chunk = 1;
  options.max_tokens = -1;
  refused({1}, options, "max_tokens: expected 0 or more, found -1");
  options.max_tokens = 5;
  options.sampling.top_p = 7;
  refused({1}, options, "top-p");
  options.sampling.top_p = 1;

  machine.prompt = {1, 2, 3};
  CHECK_THROWS_AS(
      generate(machine.decoder, machine.tokenizer, machine.prompt, session, machine.workspace,
               options, {}, [](std::string_view, Index done, Index) { return done < 2; }),
      Cancelled);
  CHECK(session.position() == 4);
  CHECK_THROWS_AS(machine.run(options, session, [](TokenId, std::string_view) -> bool { throw 5; }),
                  int);
  CHECK(session.position() == 4);

  Session small = machine.session(64);  // one page
  options.max_tokens = 100;
  REQUIRE_ERROR(machine.run(options, small), "the KV budget of 1 pages of 64 positions is used up");
  CHECK(small.position() == 0);
  options.max_tokens = 60;
  Session fresh = machine.session();
  CHECK(machine.run(options, small).ids == machine.run(options, fresh).ids);
}

}  // namespace
}  // namespace nibble
