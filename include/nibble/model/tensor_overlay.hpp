// The tensors of a model, of which some are replaced.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nibble/model/tensor_provider.hpp>

namespace nibble {

/// Delivers replacements where there are any, else what another provider delivers. Keeps every
/// matrix that it has delivered until `clear`, so that it is packed once however often it is asked
/// for. To be used from one thread.
class TensorOverlay : public TensorProvider {
 public:
  /// Borrows `tensors`.
  explicit TensorOverlay(const TensorProvider* tensors) : tensors_(tensors) {}
  TensorOverlay(const TensorOverlay&) = delete;
  TensorOverlay& operator=(const TensorOverlay&) = delete;

  void replace(std::string_view name, AnyMatrix matrix) {
    matrices_.insert_or_assign(std::string(name), std::move(matrix));
  }
  void replace(std::string_view name, std::vector<float> vector) {
    vectors_.insert_or_assign(std::string(name), std::move(vector));
  }
  /// The tensors as they were.
  void clear() noexcept {
    matrices_.clear();
    vectors_.clear();
  }

  [[nodiscard]] AnyFormat format(const TensorSpec& spec) const override {
    const auto place = matrices_.find(spec.name);
    return place == matrices_.end() ? tensors_->format(spec) : place->second.format();
  }
  [[nodiscard]] AnyMatrix matrix(const TensorSpec& spec, ExecutorRef pool) const override {
    auto place = matrices_.find(spec.name);
    if (place == matrices_.end()) {
      place = matrices_.emplace(spec.name, tensors_->matrix(spec, pool)).first;
    }
    return place->second;
  }
  [[nodiscard]] std::vector<float> vector(const TensorSpec& spec) const override {
    const auto place = vectors_.find(spec.name);
    return place == vectors_.end() ? tensors_->vector(spec) : place->second;
  }

 private:
  const TensorProvider* tensors_;
  mutable std::map<std::string, AnyMatrix, std::less<>> matrices_;
  std::map<std::string, std::vector<float>, std::less<>> vectors_;
};

}  // namespace nibble
