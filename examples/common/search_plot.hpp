// The plot of nibble-search bench as SVG: recall against size on the left, speed on the right.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "common/numbers.hpp"
#include "common/svg.hpp"

namespace nibble::example {

/// What the plot shows of one code.
struct SearchPlotRow {
  std::string name;
  double bytes = 0;  // of a row, that a scan reads
  double recall = 0;
  double rescored = 0;  // recall, of four times as many candidates re-ranked; 0: not measured
  double one_speed = 0, batch_speed = 0;  // queries/s
};

namespace search_plot_detail {

/// Recall over the bytes of a row.
inline void draw_recall(svg::Canvas& canvas, const std::vector<SearchPlotRow>& rows,
                        const svg::Box& area) {
  double most_bytes = 0, least_recall = 1;
  for (const SearchPlotRow& row : rows) {
    most_bytes = std::max(most_bytes, row.bytes);
    least_recall = std::min(least_recall, row.recall);
  }
  constexpr double recall_step = 0.1;
  const double step = svg::tick_step(most_bytes, 5);
  const double bytes_end = 1.06 * std::max(most_bytes, step);
  const double low = std::min(std::floor(least_recall / recall_step) * recall_step, 0.9);
  const auto x_of = [&](double bytes) {
    return area.left + (area.right - area.left) * bytes / bytes_end;
  };
  const auto y_of = [&](double recall) {
    return area.bottom - (area.bottom - area.top) * (recall - low) / (1 - low);
  };

  std::vector<svg::Box> taken;
  const auto lines = static_cast<int>(std::lround((1 - low) / recall_step));
  for (int i = 0; i <= lines; ++i) {
    const double y = y_of(low + i * recall_step);
    canvas.line(area.left, y, area.right, y, i == 0 ? "axis" : "grid");
    taken.push_back({area.left, y - 1, area.right, y + 1});
    canvas.text(area.left - 8, y + 4, fixed(low + i * recall_step, 1), "end");
  }
  for (int i = 0; i * step <= bytes_end; ++i) {
    canvas.line(x_of(i * step), area.bottom, x_of(i * step), area.bottom + 5, "axis");
    canvas.text(x_of(i * step), area.bottom + 19, fixed(i * step, 0), "middle");
  }
  canvas.text((area.left + area.right) / 2, area.bottom + 40, "bytes of a vector that a scan reads",
              "middle");

  std::vector<svg::Label> labels;
  const auto point = [&](double x, double y, std::string_view style) {
    canvas.circle(x, y, 5.5, style);
    taken.push_back({x - 6, y - 6, x + 6, y + 6});
  };
  for (const SearchPlotRow& row : rows) {
    const double x = x_of(row.bytes);
    if (row.rescored > 0) point(x, y_of(row.rescored), "second");
    point(x, y_of(row.recall), "first");
    svg::add_label(labels, x, y_of(row.recall), row.name);
  }
  svg::draw_labels(canvas, labels, taken, area);
}

}  // namespace search_plot_detail

/// The plot, rows from the narrowest code to the widest; `recall` is what recall is of, such as
/// "recall@10".
[[nodiscard]] inline std::string search_plot_svg(std::string_view title, std::string_view subtitle,
                                                 std::string_view recall,
                                                 const std::vector<SearchPlotRow>& rows) {
  svg::Canvas canvas;
  canvas.text(24, 36, title, "title");
  canvas.text(24, 58, subtitle, "");

  canvas.text(24, 98, "Quality", "heading");
  const bool rescored =
      std::ranges::any_of(rows, [](const SearchPlotRow& row) { return row.rescored > 0; });
  canvas.text(24, 117,
              concat(recall, ": blue by the codes alone",
                     rescored ? ", orange with 4x as many re-ranked" : ""),
              "");
  search_plot_detail::draw_recall(canvas, rows, {78, 144, 478, 424});

  canvas.text(520, 98, "Speed", "heading");
  canvas.text(520, 117, "queries per second: more is better", "");
  std::vector<std::string> names;
  std::vector<double> one, batch;
  for (const SearchPlotRow& row : rows) {
    names.push_back(row.name);
    one.push_back(row.one_speed);
    batch.push_back(row.batch_speed);
  }
  const svg::Box left{626, 158, 772, 434}, right{790, 158, 936, 434};
  svg::draw_row_names(canvas, names, left);
  svg::draw_bars(canvas, one, left, "one by one", "first");
  svg::draw_bars(canvas, batch, right, "64 together", "second");
  return svg::document(title, canvas);
}

}  // namespace nibble::example
