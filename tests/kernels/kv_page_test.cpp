#include "nibble/kernels/kv_page.hpp"

#include <string>

#include "support/catch.hpp"

using namespace nibble;

TEST_CASE("the layout of a page", "[kv_page]") {
  const KvPageLayout half{KvType::Float16, 3, 2, 20};
  CHECK(half.padded_dim() == 32);
  CHECK(half.key_bytes() == 20 * 64 * 2);
  CHECK(half.head_bytes() == (20 + 32) * 64 * 2);
  CHECK(half.page_bytes() == 6 * half.head_bytes());
  CHECK(half.head_offset(2, 1) == 5 * half.head_bytes());
  CHECK(half.head_bytes() % alignment == 0);
  const KvPageLayout single{KvType::Float32, 1, 1, 64};
  CHECK(single.page_bytes() == 2 * 64 * 64 * 4);
}

TEST_CASE("KV types are found by their names", "[kv_page]") {
  for (const KvType type : {KvType::Float32, KvType::Float16, KvType::BFloat16}) {
    CHECK(parse_kv_type(kv_type_name(type)) == type);
  }
  CHECK_THROWS_WITH(parse_kv_type("int8"), Catch::Matchers::ContainsSubstring("'int8'"));
}
