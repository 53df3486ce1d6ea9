// Loads a model, quantizes it to four bits in memory, and lets it write.
#include <exception>
#include <iostream>
#include <string_view>

#include <nibble/dispatch/dispatch.hpp>
#include <nibble/nibble.hpp>

int main(int argc, char** argv) try {
  const nibble::ModelFolder model(argc > 1 ? argv[1] : "examples/models/novella-5m");
  nibble::ThreadPool pool;  // one thread for each core
  const nibble::Decoder decoder = nibble::quantize_model(
      model, nibble::Recipe::uniform(nibble::RoundToNearest{}, nibble::make_format("int4")), pool,
      {}, nibble::dispatch::best());  // the kernels that suit this CPU

  const std::string_view prompt = "It was a dark night, and";
  const nibble::Tokenizer tokenizer = model.tokenizer();
  nibble::Session session = decoder.make_session(256);  // room for 256 tokens
  nibble::Workspace workspace(pool);
  const nibble::GenerateOptions options{.max_tokens = 60,
                                        .sampling = {.temperature = 0.8F, .top_p = 0.95F}};
  std::cout << prompt;
  nibble::generate(decoder, tokenizer, tokenizer.encode(prompt), session, workspace, options,
                   [](nibble::TokenId, std::string_view text) {
                     std::cout << text << std::flush;
                     return true;  // false would end it here
                   });
  std::cout << '\n';
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << '\n';
  return 1;
}
