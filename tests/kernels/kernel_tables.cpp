#include "kernels/kernel_tables.hpp"

#include <nibble/dispatch/dispatch.hpp>

#include "support/catch.hpp"

namespace nibble::test {

const std::vector<const KernelTable*>& kernel_tables() {
  static const std::vector<const KernelTable*> tables = [] {
    std::vector<const KernelTable*> all{&kernels<simd::Portable>()};
    const auto compiled = dispatch::available();
    all.insert(all.end(), compiled.begin(), compiled.end());
    return all;
  }();
  return tables;
}

}  // namespace nibble::test

TEST_CASE("every table is complete", "[kernel_table]") {
  using namespace nibble;
  for (const KernelTable* table : test::kernel_tables()) {
    CAPTURE(table->isa);
    CHECK(table->pack_activations != nullptr);
    CHECK(table->rms_norm != nullptr);
    CHECK(table->rotate != nullptr);
    CHECK(table->silu_multiply != nullptr);
    CHECK(table->add != nullptr);
    CHECK(table->store_key_value != nullptr);
    CHECK(table->attention != nullptr);
    CHECK(table->gram_width > 0);
    CHECK(table->gram_tile != nullptr);
    CHECK(table->add_outer_products != nullptr);
    for (std::size_t format = 0; format < Formats::size; ++format) {
      CAPTURE(Formats::names[format]);
      const bool integers = format >= Formats::index_of<ZeroOneInt8>;
      CHECK(table->matmul[format][static_cast<std::size_t>(Activations::Float)] != nullptr);
      CHECK((table->matmul[format][static_cast<std::size_t>(Activations::Int8)] != nullptr) ==
            integers);
      CHECK((table->native_activations[format] == Activations::Int8) == integers);
    }
  }
}
