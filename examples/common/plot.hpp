// The plot of nibble-compare as SVG: quality against size on the left, speed on the right.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>

#include "common/numbers.hpp"

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

[[nodiscard]] inline std::string escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

/// An estimate, a little generous, of what a browser's interface font takes.
[[nodiscard]] inline double text_width(std::string_view text, double size) {
  return 0.58 * size * static_cast<double>(text.size());
}

struct Box {
  double left, top, right, bottom;
  [[nodiscard]] bool overlaps(const Box& other) const {
    return left < other.right && other.left < right && top < other.bottom && other.top < bottom;
  }
};

/// SVG elements, in the order they are painted.
class Canvas {
 public:
  void line(double x1, double y1, double x2, double y2, std::string_view style) {
    body_ += concat("<line class=\"", style, "\" x1=\"", round(x1), "\" y1=\"", round(y1),
                    "\" x2=\"", round(x2), "\" y2=\"", round(y2), "\"/>\n");
  }
  void circle(double x, double y, double radius, std::string_view style) {
    body_ += concat("<circle class=\"", style, "\" cx=\"", round(x), "\" cy=\"", round(y),
                    "\" r=\"", round(radius), "\"/>\n");
  }
  void bar(double x, double y, double width, double height, std::string_view style) {
    body_ +=
        concat("<rect class=\"", style, "\" x=\"", round(x), "\" y=\"", round(y), "\" width=\"",
               round(std::max(width, 1.0)), "\" height=\"", round(height), "\" rx=\"2\"/>\n");
  }
  void text(double x, double y, std::string_view content, std::string_view style) {
    body_ += concat("<text class=\"", style, "\" x=\"", round(x), "\" y=\"", round(y), "\">",
                    escape(content), "</text>\n");
  }
  [[nodiscard]] const std::string& body() const noexcept { return body_; }

 private:
  [[nodiscard]] static double round(double value) { return std::round(10 * value) / 10; }

  std::string body_;
};

/// 1, 2 or 5 times a power of ten: the ticks of an axis from 0 to `largest`.
[[nodiscard]] inline double tick_step(double largest, double ticks) {
  const double power = std::pow(10, std::floor(std::log10(largest / ticks)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power * ticks >= largest) return factor * power;
  }
  return 10 * power;
}

/// Divergences up to this are drawn on the lowest line of the logarithmic axis.
inline constexpr double divergence_floor = 1e-5;

/// KL divergence over file size.
inline void draw_quality(Canvas& canvas, const std::vector<PlotRow>& rows, const Box& area) {
  double largest_size = 0;
  double largest_divergence = 10 * divergence_floor;
  for (const PlotRow& row : rows) {
    largest_size = std::max(largest_size, row.megabytes);
    largest_divergence = std::max(largest_divergence, row.kl_divergence);
  }
  const double step = tick_step(largest_size, 5);
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

  std::vector<Box> lines;
  for (double level = low; level <= high; level += 1) {
    const double value = std::pow(10, level);
    canvas.line(area.left, y_of(value), area.right, y_of(value), level == low ? "axis" : "grid");
    lines.push_back({area.left, y_of(value) - 1, area.right, y_of(value) + 1});
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

  // Points that (nearly) coincide share a label.
  struct Label {
    double x, y;
    std::string text;
  };
  std::vector<Label> labels;
  std::vector<Box> taken = lines;
  for (const PlotRow& row : rows) {
    const double x = x_of(row.megabytes);
    const double y = y_of(row.kl_divergence);
    canvas.circle(x, y, 5.5, "point");
    taken.push_back({x - 6, y - 6, x + 6, y + 6});
    const auto near = std::ranges::find_if(
        labels, [&](const Label& label) { return std::hypot(label.x - x, label.y - y) < 9; });
    if (near == labels.end()) {
      labels.push_back({x, y, row.name});
    } else {
      near->text += ", " + row.name;
    }
  }
  for (const Label& label : labels) {
    const double width = text_width(label.text, 13);
    // Beside the point, then above and below it, until nothing is in the way.
    const std::array<std::pair<double, double>, 9> places{{{10, 4.5},
                                                           {9, -5},
                                                           {9, 14},
                                                           {-width / 2, -12},
                                                           {-width - 10, 4.5},
                                                           {-width - 9, -5},
                                                           {-width - 9, 14},
                                                           {-width / 2, 22},
                                                           {-width / 2, -28}}};
    for (const auto& [dx, dy] : places) {
      const double x = label.x + dx;
      const double y = label.y + dy;
      const Box box{x, y - 11, x + width, y + 3};
      const bool inside = box.left > area.left + 2 && box.right < area.right + 4 &&
                          box.top > area.top - 18 && box.bottom < area.bottom - 2;
      const bool free =
          std::ranges::none_of(taken, [&](const Box& other) { return box.overlaps(other); });
      if (!(inside && free) && &dx != &places.back().first) continue;
      canvas.text(x, y, label.text, "label");
      taken.push_back(box);
      break;
    }
  }
}

/// A column of bars with their values; the longest is as wide as the area, less its value.
inline void draw_speeds(Canvas& canvas, const std::vector<PlotRow>& rows, double PlotRow::*speed,
                        const Box& area, std::string_view title, std::string_view style) {
  double largest = 1e-9;
  double value_width = 0;
  for (const PlotRow& row : rows) {
    largest = std::max(largest, row.*speed);
    value_width = std::max(value_width, text_width(significant(row.*speed), 13));
  }
  const double pitch = (area.bottom - area.top) / static_cast<double>(rows.size());
  const double height = std::min(22.0, 0.64 * pitch);
  const double room = area.right - area.left - value_width - 6;
  canvas.text(area.left, area.top - 9, title, "");
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double middle = area.top + (static_cast<double>(i) + 0.5) * pitch;
    const double width = room * (rows[i].*speed) / largest;
    canvas.bar(area.left, middle - height / 2, width, height, style);
    canvas.text(area.left + width + 6, middle + 4.5, significant(rows[i].*speed), "label");
  }
}

}  // namespace plot_detail

/// The plot, 960 x 480, for light and dark backgrounds: the colors are legible on both, and a
/// viewer that prefers dark gets lighter text. Rows go from the widest format to the narrowest.
[[nodiscard]] inline std::string plot_svg(std::string_view title, std::string_view subtitle,
                                          const std::vector<PlotRow>& rows) {
  using plot_detail::Box;
  plot_detail::Canvas canvas;
  canvas.text(24, 36, title, "title");
  canvas.text(24, 58, subtitle, "");

  canvas.text(24, 98, "Quality", "heading");
  canvas.text(24, 117, "KL divergence from float32 in nats, log scale: lower is better", "");
  plot_detail::draw_quality(canvas, rows, Box{78, 144, 478, 424});

  constexpr double top = 158, bottom = 434;
  canvas.text(520, 98, "Speed", "heading");
  canvas.text(520, 117, "tokens per second: more is better", "");
  const double pitch = (bottom - top) / static_cast<double>(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    canvas.text(616, top + (static_cast<double>(i) + 0.5) * pitch + 4.5, rows[i].name, "label end");
  }
  plot_detail::draw_speeds(canvas, rows, &PlotRow::decode_speed, {626, top, 772, bottom},
                           "writing (decode)", "decode");
  plot_detail::draw_speeds(canvas, rows, &PlotRow::prompt_speed, {790, top, 936, bottom},
                           "reading (prompt)", "prompt");

  return concat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 960 480\" width=\"960\" "
      "height=\"480\" role=\"img\">\n<title>",
      plot_detail::escape(title), "</title>\n",
      "<style>\n"
      "text { font: 13px system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, "
      "sans-serif; fill: #66707b; }\n"
      ".title { font-size: 20px; font-weight: 600; }\n"
      ".heading { font-size: 15px; font-weight: 600; }\n"
      ".middle { text-anchor: middle; }\n"
      ".end { text-anchor: end; }\n"
      ".axis { stroke: #66707b; }\n"
      ".grid { stroke: #8b949e; stroke-opacity: 0.35; }\n"
      ".point { fill: #2f81f7; fill-opacity: 0.85; }\n"
      ".decode { fill: #2f81f7; }\n"
      ".prompt { fill: #d9730d; }\n"
      "@media (prefers-color-scheme: dark) {\n"
      "  text { fill: #9da7b1; }\n"
      "  .title, .heading, .label { fill: #dde4ea; }\n"
      "  .axis { stroke: #9da7b1; }\n"
      "}\n"
      "</style>\n",
      canvas.body(), "</svg>\n");
}

}  // namespace nibble::example
