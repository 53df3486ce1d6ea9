// Any bytes as a tokenizer.json: refused with an Error, or it encodes and decodes whatever text
// comes. The bytes after the first zero byte are the text.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/text/stream_decoder.hpp>
#include <nibble/text/tokenizer.hpp>
#include <nibble/text/utf8.hpp>

namespace {

void check(bool good) {
  if (!good) __builtin_trap();
}

/// decode and a stream agree, and give valid UTF-8.
void decode_both_ways(const nibble::Tokenizer& tokenizer, const std::vector<nibble::TokenId>& ids) {
  const std::string text = tokenizer.decode(ids, false);
  check(!nibble::text::find_invalid_utf8(text));
  nibble::StreamDecoder stream(tokenizer, false);
  std::string streamed;
  for (const nibble::TokenId id : ids) streamed += stream.next(id);
  streamed += stream.flush();
  check(streamed == text);
}

void use(const nibble::Tokenizer& tokenizer, std::string_view text) {
  for (const bool plain : {false, true}) {
    const auto ids = plain ? tokenizer.encode_plain(text) : tokenizer.encode(text);
    for (const nibble::TokenId id : ids) check(id >= 0 && id < tokenizer.vocab_size());
    decode_both_ways(tokenizer, ids);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t zero = std::min(input.find('\0'), size);
  const std::string_view text = zero < size ? input.substr(zero + 1) : input;
  try {
    const auto tokenizer = nibble::Tokenizer::parse(input.substr(0, zero), "fuzz");
    use(tokenizer, "a  b 12'S \xc3\xa9\n\n \xf0\x9f\x99\x82<s>");
    use(tokenizer, text);
    std::vector<nibble::TokenId> ids;
    for (const char byte : text.substr(0, 64)) ids.push_back(static_cast<signed char>(byte));
    decode_both_ways(tokenizer, ids);
  } catch (const nibble::Error& error) {
    check(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
