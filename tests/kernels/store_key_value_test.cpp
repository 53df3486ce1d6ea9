#include "nibble/kernels/store_key_value.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include "kernels/kernel_tables.hpp"
#include "support/catch.hpp"
#include "support/random.hpp"

using namespace nibble;

TEST_CASE("a key and a value are rounded into their slot and nowhere else", "[store_key_value]") {
  test::Random random(140);
  for (const KvType type : {KvType::Float32, KvType::Float16, KvType::BFloat16}) {
    for (const Index dim : {2, 16, 20, 33, 64}) {
      const KvPageLayout layout{type, 1, 1, dim};
      const auto key = test::random_floats(random, dim);
      const auto value = test::random_floats(random, dim);
      for (const Index slot : {0, 7, 63}) {
        for (const KernelTable* table : test::kernel_tables()) {
          CAPTURE(table->isa, kv_type_name(type), dim, slot);
          AlignedBuffer page(layout.page_bytes());
          std::fill_n(page.data(), page.size(), std::byte{0xA5});
          std::vector<std::byte> expected(page.data(), page.data() + page.size());
          table->store_key_value(key.data(), value.data(), layout, page.data(), slot);
          with_kv_type(type, [&]<class T>(T) {
            const auto put = [&](std::size_t offset, Index element, float number) {
              const T rounded = from_float<T>(number);
              std::memcpy(expected.data() + offset + static_cast<std::size_t>(element) * sizeof(T),
                          &rounded, sizeof(T));
            };
            for (Index d = 0; d < layout.padded_dim(); ++d) {
              const auto i = static_cast<std::size_t>(d);
              if (d < dim) put(0, d * page_positions + slot, key[i]);
              // Lanes beyond the head's are zero.
              put(layout.key_bytes(), slot * layout.padded_dim() + d, d < dim ? value[i] : 0.0F);
            }
          });
          CHECK(std::equal(expected.begin(), expected.end(), page.data()));
        }
      }
    }
  }
}
