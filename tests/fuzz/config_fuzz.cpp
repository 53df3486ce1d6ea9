// Any text as config.json, generation_config.json or a shard index: refused with an Error, or
// within the limits.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <nibble/core/error.hpp>
#include <nibble/io/sharded_safetensors.hpp>
#include <nibble/model/generation_config.hpp>
#include <nibble/model/model_config.hpp>

namespace {

void expect(bool condition) {
  if (!condition) __builtin_trap();
}

template <class Call>
void expect_only_errors(Call call) {
  try {
    call();
  } catch (const nibble::Error& error) {
    const std::string_view message = error.what();
    expect(message.find('\n') == std::string_view::npos && message.size() < 2000);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  expect_only_errors([&] {
    const auto json = nibble::parse_json(text, "fuzz");
    expect_only_errors([&] { (void)nibble::parse_generation_defaults(json, "fuzz"); });
    expect_only_errors([&] { (void)nibble::parse_safetensors_index(json, "fuzz"); });
    expect_only_errors([&] {
      const auto model = nibble::parse_model_config(json, "fuzz");
      expect(model.hidden_size > 0 && model.layers > 0 && model.layers <= 4096);
      expect(model.heads % model.kv_heads == 0 && model.head_dim % 2 == 0);
      expect(model.heads * model.head_dim <= nibble::config_limits.attention_width);
      expect(model.sliding_windows.size() == static_cast<std::size_t>(model.layers));
      expect(model.rope.theta >= 1 && model.rope.factor > 0);
    });
  });
  return 0;
}
