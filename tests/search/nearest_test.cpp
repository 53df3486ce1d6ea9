#include "nibble/search/nearest.hpp"

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include "support/catch.hpp"
#include "support/random.hpp"

using namespace nibble;

TEST_CASE("the nearest are kept, ties by id, in any order", "[nearest]") {
  test::Random random(44);
  for (const std::size_t count : {0U, 1U, 7U, 40U, 200U}) {
    std::vector<Neighbour> candidates;
    for (std::uint64_t id = 0; id < 100; ++id) {
      candidates.push_back({id, static_cast<float>(test::random_integer(random, -5, 5)), 0});
    }
    std::vector<Neighbour> expected = candidates;
    std::ranges::sort(expected, is_nearer);
    expected.resize(std::min(count, expected.size()));
    for (int round = 0; round < 5; ++round) {
      std::ranges::shuffle(candidates, random);
      Nearest one(count), other(count), all(count);
      for (std::size_t i = 0; i < candidates.size(); ++i) {
        Nearest& half = i % 2 == 0 ? one : other;
        if (candidates[i].score >= half.threshold()) half.add(candidates[i]);
      }
      for (const Nearest* half : {&one, &other}) {
        for (const Neighbour& each : half->kept()) all.add(each);
      }
      CHECK(std::move(all).take() == expected);
    }
  }
}

TEST_CASE("a score that is not a number is not kept", "[nearest]") {
  Nearest nearest(3);
  nearest.add({1, std::numeric_limits<float>::quiet_NaN(), 0});
  nearest.add({2, -std::numeric_limits<float>::infinity(), 0});
  CHECK(std::move(nearest).take().size() == 1);
}
