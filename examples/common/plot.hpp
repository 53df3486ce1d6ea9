// The plot of nibble-compare as SVG: quality against size on the left, speed on the right.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "common/numbers.hpp"
#include "common/svg.hpp"

namespace nibble::example {

/// What the plot shows of one weight format.
struct PlotRow {
  std::string name;
  double megabytes = 0;
  double kl_divergence = 0;
  double prompt_speed = 0;  // tokens/s
  double decode_speed = 0;
};

namespace plot_detail {

/// Divergences up to this are drawn on the lowest line of the logarithmic axis.
inline constexpr double divergence_floor = 1e-5;

/// KL divergence over file size.
inline void draw_quality(svg::Canvas& canvas, const std::vector<PlotRow>& rows,
                         const svg::Box& area) {
  double largest_size = 0;
  double largest_divergence = 10 * divergence_floor;
  for (const PlotRow& row : rows) {
    largest_size = std::max(largest_size, row.megabytes);
    largest_divergence = std::max(largest_divergence, row.kl_divergence);
  }
  const double step = svg::tick_step(largest_size, 5);
  const double size_end = 1.06 * std::max(largest_size, step);
  const double low = std::log10(divergence_floor);
  const double high = std::max(std::ceil(std::log10(largest_divergence)), low + 1);
  const auto x_of = [&](double size) {
    return area.left + (area.right - area.left) * size / size_end;
  };
  const auto y_of = [&](double divergence) {
    const double level = std::log10(std::max(divergence, divergence_floor));
    return area.bottom - (area.bottom - area.top) * (level - low) / (high - low);
  };

  std::vector<svg::Box> taken;
  for (double level = low; level <= high; level += 1) {
    const double value = std::pow(10, level);
    canvas.line(area.left, y_of(value), area.right, y_of(value), level == low ? "axis" : "grid");
    taken.push_back({area.left, y_of(value) - 1, area.right, y_of(value) + 1});
    canvas.text(area.left - 8, y_of(value) + 4,
                level == low ? "≈ 0" : fixed(value, static_cast<int>(std::max(-level, 0.0))),
                "end");
  }
  for (int i = 0; i * step <= size_end; ++i) {
    canvas.line(x_of(i * step), area.bottom, x_of(i * step), area.bottom + 5, "axis");
    canvas.text(x_of(i * step), area.bottom + 19,
                step < 1 ? fixed(i * step, 1) : fixed(i * step, 0), "middle");
  }
  canvas.text((area.left + area.right) / 2, area.bottom + 40, "file size, MB", "middle");

  std::vector<svg::Label> labels;
  for (const PlotRow& row : rows) {
    const double x = x_of(row.megabytes);
    const double y = y_of(row.kl_divergence);
    canvas.circle(x, y, 5.5, "first");
    taken.push_back({x - 6, y - 6, x + 6, y + 6});
    svg::add_label(labels, x, y, row.name);
  }
  svg::draw_labels(canvas, labels, taken, area);
}

}  // namespace plot_detail

/// The plot. Rows go from the widest format to the narrowest.
[[nodiscard]] inline std::string plot_svg(std::string_view title, std::string_view subtitle,
                                          const std::vector<PlotRow>& rows) {
  svg::Canvas canvas;
  canvas.text(24, 36, title, "title");
  canvas.text(24, 58, subtitle, "");

  canvas.text(24, 98, "Quality", "heading");
  canvas.text(24, 117, "KL divergence from float32 in nats, log scale: lower is better", "");
  plot_detail::draw_quality(canvas, rows, {78, 144, 478, 424});

  canvas.text(520, 98, "Speed", "heading");
  canvas.text(520, 117, "tokens per second: more is better", "");
  std::vector<std::string> names;
  std::vector<double> decode, prompt;
  for (const PlotRow& row : rows) {
    names.push_back(row.name);
    decode.push_back(row.decode_speed);
    prompt.push_back(row.prompt_speed);
  }
  const svg::Box left{626, 158, 772, 434}, right{790, 158, 936, 434};
  svg::draw_row_names(canvas, names, left);
  svg::draw_bars(canvas, decode, left, "writing (decode)", "first");
  svg::draw_bars(canvas, prompt, right, "reading (prompt)", "second");
  return svg::document(title, canvas);
}

}  // namespace nibble::example
