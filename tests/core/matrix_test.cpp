#include "nibble/core/matrix.hpp"

#include <vector>

#include "support/catch.hpp"

TEST_CASE("matrices have their rows one after the other", "[matrix]") {
  const std::vector<float> data{1, 2, 3, 4, 5, 6};
  const auto view = nibble::view_matrix(data.data(), 2, 3);
  CHECK(view(1, 0) == 4.0F);
  const nibble::Matrix copy = view;
  CHECK(copy.data()[4] == 5.0F);
}
