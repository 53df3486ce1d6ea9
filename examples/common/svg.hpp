// Drawing plots as SVG, for light and dark backgrounds: text, lines, points and bars.
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

namespace nibble::example::svg {

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

/// A point's name, to be written beside it.
struct Label {
  double x = 0, y = 0;
  std::string text;
};

/// Adds a point's name; those of points that (nearly) coincide are joined.
inline void add_label(std::vector<Label>& labels, double x, double y, const std::string& text) {
  const auto near = std::ranges::find_if(
      labels, [&](const Label& label) { return std::hypot(label.x - x, label.y - y) < 9; });
  if (near == labels.end()) {
    labels.push_back({x, y, text});
  } else {
    near->text += ", " + text;
  }
}

/// Writes each label where it covers nothing of what is taken, nor another label.
inline void draw_labels(Canvas& canvas, const std::vector<Label>& labels, std::vector<Box> taken,
                        const Box& area) {
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

/// The place of a row of bars of `count`, from top to bottom.
[[nodiscard]] inline double row_middle(const Box& area, std::size_t row, std::size_t count) {
  const double pitch = (area.bottom - area.top) / static_cast<double>(count);
  return area.top + (static_cast<double>(row) + 0.5) * pitch;
}

/// The names of rows of bars, which end at the left of the area.
inline void draw_row_names(Canvas& canvas, const std::vector<std::string>& names, const Box& area) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    canvas.text(area.left - 10, row_middle(area, i, names.size()) + 4.5, names[i], "label end");
  }
}

/// A column of bars with their values; the longest is as wide as the area, less its value.
inline void draw_bars(Canvas& canvas, const std::vector<double>& values, const Box& area,
                      std::string_view title, std::string_view style) {
  double largest = 1e-9;
  double value_width = 0;
  for (const double value : values) {
    largest = std::max(largest, value);
    value_width = std::max(value_width, text_width(significant(value), 13));
  }
  const double pitch = (area.bottom - area.top) / static_cast<double>(values.size());
  const double height = std::min(22.0, 0.64 * pitch);
  const double room = area.right - area.left - value_width - 6;
  canvas.text(area.left, area.top - 9, title, "");
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double middle = row_middle(area, i, values.size());
    const double width = room * values[i] / largest;
    canvas.bar(area.left, middle - height / 2, width, height, style);
    canvas.text(area.left + width + 6, middle + 4.5, significant(values[i]), "label");
  }
}

/// The whole plot, 960 x 480: the colors are legible on light and dark, and a viewer that prefers
/// dark gets lighter text. Styles: title, heading, label, middle, end; axis, grid; first, second.
[[nodiscard]] inline std::string document(std::string_view title, const Canvas& canvas) {
  return concat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 960 480\" width=\"960\" "
      "height=\"480\" role=\"img\">\n<title>",
      escape(title), "</title>\n",
      "<style>\n"
      "text { font: 13px system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, "
      "sans-serif; fill: #66707b; }\n"
      ".title { font-size: 20px; font-weight: 600; }\n"
      ".heading { font-size: 15px; font-weight: 600; }\n"
      ".middle { text-anchor: middle; }\n"
      ".end { text-anchor: end; }\n"
      ".axis { stroke: #66707b; }\n"
      ".grid { stroke: #8b949e; stroke-opacity: 0.35; }\n"
      "circle { fill-opacity: 0.85; }\n"
      ".first { fill: #2f81f7; }\n"
      ".second { fill: #d9730d; }\n"
      "@media (prefers-color-scheme: dark) {\n"
      "  text { fill: #9da7b1; }\n"
      "  .title, .heading, .label { fill: #dde4ea; }\n"
      "  .axis { stroke: #9da7b1; }\n"
      "}\n"
      "</style>\n",
      canvas.body(), "</svg>\n");
}

}  // namespace nibble::example::svg
