// Reports on calibrated tensors as JSON, exact to the last bit.
#pragma once

#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <nibble/io/json.hpp>
#include <nibble/model/calibrated_layers.hpp>
#include <nibble/model/format_json.hpp>

namespace nibble {

/// An array with an object for each report.
[[nodiscard]] inline nlohmann::json reports_to_json(const std::vector<TensorReport>& reports) {
  nlohmann::json array = nlohmann::json::array();
  for (const TensorReport& report : reports) {
    nlohmann::json json = format_to_json(report.format);
    json["tensor"] = report.tensor;
    json["method"] = report.method;
    json["error"] = report.calibration.error;
    json["nearest_error"] = report.calibration.nearest_error;
    json["nearest_rows"] = report.calibration.nearest_rows;
    json["damping"] = report.calibration.damping;
    json["relative_damping"] = report.calibration.relative_damping;
    json["exponent"] = report.calibration.exponent;
    json["seconds"] = report.seconds;
    array.push_back(std::move(json));
  }
  return array;
}

/// What `reports_to_json` made, as text. Throws Error, starting with `source`, for anything else.
[[nodiscard]] inline std::vector<TensorReport> reports_from_json(std::string_view text,
                                                                 std::string_view source) {
  const std::string where = concat(source, ": reports");
  const nlohmann::json array = parse_json(text, where);
  if (!array.is_array()) fail(where, ": expected an array, found ", describe_json(array));
  std::vector<TensorReport> reports;
  for (const nlohmann::json& json : array) {
    // JSON has no infinities.
    const auto number = [&](std::string_view key) {
      return json_optional<double>(json, key, where)
          .value_or(std::numeric_limits<double>::infinity());
    };
    reports.push_back({json_field<std::string>(json, "tensor", where),
                       json_field<std::string>(json, "method", where),
                       format_from_json(json, where),
                       {.error = number("error"),
                        .nearest_error = number("nearest_error"),
                        .damping = number("damping"),
                        .relative_damping = number("relative_damping"),
                        .exponent = number("exponent"),
                        .nearest_rows = json_field<Index>(json, "nearest_rows", where)},
                       number("seconds")});
  }
  return reports;
}

}  // namespace nibble
