#include <nibble/nn/rope.hpp>

#include <cmath>
#include <numbers>

#include "support/catch.hpp"

namespace nibble {
namespace {

/// The rotation of each pair in one step, from the sines at position 1.
std::vector<double> frequencies(const RopeConfig& config, Index head_dim) {
  const Rope rope(config, head_dim);
  REQUIRE(rope.size() == head_dim / 2);
  std::vector<float> cosines(static_cast<std::size_t>(rope.size())), sines(cosines.size());
  rope.angles(1, cosines.data(), sines.data());
  std::vector<double> result;
  for (std::size_t i = 0; i < sines.size(); ++i) result.push_back(std::atan2(sines[i], cosines[i]));
  return result;
}

TEST_CASE("plain and linear frequencies are powers of theta") {
  for (const double theta : {10000.0, 500000.0, 1.0}) {
    for (const Index head_dim : {2, 10, 64, 128}) {
      const auto plain = frequencies({.theta = theta}, head_dim);
      const auto linear =
          frequencies({.kind = RopeKind::linear, .theta = theta, .factor = 4}, head_dim);
      for (std::size_t i = 0; i < plain.size(); ++i) {
        const double exact = std::exp(-std::log(theta) * 2.0 * static_cast<double>(i) /
                                      static_cast<double>(head_dim));
        CHECK(plain[i] == Approx(exact).epsilon(1e-6));
        CHECK(linear[i] == Approx(exact / 4).epsilon(1e-6));
      }
    }
  }
}

TEST_CASE("llama3 keeps fast frequencies, divides slow ones, and blends in between") {
  const RopeConfig config{.kind = RopeKind::llama3,
                          .theta = 500000,
                          .factor = 8,
                          .low_freq_factor = 1,
                          .high_freq_factor = 4,
                          .original_max_positions = 8192};
  const auto scaled = frequencies(config, 128);
  const auto plain = frequencies({.theta = 500000}, 128);
  int kept = 0, divided = 0, blended = 0;
  for (std::size_t i = 0; i < scaled.size(); ++i) {
    const double turns = 8192 * plain[i] / (2 * std::numbers::pi);  // within the original context
    if (turns > 4) {
      ++kept;
      CHECK(scaled[i] == plain[i]);
    } else if (turns < 1) {
      ++divided;
      CHECK(scaled[i] == Approx(plain[i] / 8).epsilon(1e-6));
    } else {
      ++blended;
      const double share = (turns - 1) / 3;
      CHECK(scaled[i] == Approx(plain[i] * (share + (1 - share) / 8)).epsilon(1e-5));
    }
  }
  // turns = 8192 / (2 pi) * 500000^(-i / 64) is 4 at i = 28.2 and 1 at i = 34.98.
  CHECK(kept == 29);
  CHECK(divided == 29);
  CHECK(blended == 6);
}

TEST_CASE("frequencies can be rounded to bfloat16") {
  RopeConfig config;
  config.bfloat16_frequencies = true;
  const Rope rounded(config, 64);
  const Rope plain(RopeConfig{}, 64);
  std::vector<float> cosines(32), sines(32), plain_cosines(32), plain_sines(32);
  rounded.angles(1, cosines.data(), sines.data());
  plain.angles(1, plain_cosines.data(), plain_sines.data());
  CHECK(cosines[0] == plain_cosines[0]);  // 1 radian
  int differ = 0;
  for (std::size_t i = 1; i < 32; ++i) {
    const double exact = std::pow(10000.0, -static_cast<double>(i) / 32);
    const float frequency = to_float(to_bfloat16(static_cast<float>(exact)));
    CHECK(sines[i] == static_cast<float>(std::sin(static_cast<double>(frequency))));
    differ += sines[i] != plain_sines[i] ? 1 : 0;
  }
  CHECK(differ > 20);
}

TEST_CASE("angles are a float32 product, at large positions too") {
  const Rope rope(RopeConfig{}, 8);
  float cosines[4], sines[4];
  for (const Index position : {0, 1, 1000, 131071, 1 << 24}) {
    rope.angles(position, cosines, sines);
    for (int i = 0; i < 4; ++i) {
      const float frequency = static_cast<float>(std::pow(10000.0, -i / 4.0));
      const float angle = static_cast<float>(position) * frequency;
      CHECK(cosines[i] == static_cast<float>(std::cos(static_cast<double>(angle))));
      CHECK(sines[i] == static_cast<float>(std::sin(static_cast<double>(angle))));
    }
  }
}

}  // namespace
}  // namespace nibble
