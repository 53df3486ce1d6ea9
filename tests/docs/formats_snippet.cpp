// The snippet of docs/formats.md.
#include <iostream>

#include <nibble/nibble.hpp>

#include "support/catch.hpp"

TEST_CASE("docs/formats.md: the snippet runs") {
  nibble::ThreadPool pool;
  const nibble::Matrix weights = nibble::Matrix::Random(1000, 300);
  const nibble::WeightSource source = nibble::weight_source("example", weights);

  const nibble::AnyFormat format =
      nibble::make_format("int4", {.group_size = 64, .asymmetric = true});
  const nibble::AnyMatrix packed = nibble::round_to_nearest(source, format, pool);

  const nibble::ErrorStatistics error = nibble::error_statistics(packed, source);
  std::cout << nibble::describe_format(format) << ": " << packed.bits_per_weight()
            << " bits per weight, " << error.sqnr_db << " dB\n";

  CHECK(packed.bits_per_weight() < 5);
  CHECK(error.sqnr_db > 20);
}
