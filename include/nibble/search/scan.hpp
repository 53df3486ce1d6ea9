// The exact scan: every row's code against some queries, block by block, the nearest kept.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include <nibble/core/executor.hpp>
#include <nibble/kernels/search_kernels.hpp>
#include <nibble/search/nearest.hpp>
#include <nibble/search/row_encoder.hpp>

namespace nibble {

/// Rows that lie one after the other, as `RowEncoder` writes them. Borrows all of it.
struct RowSpan {
  Index count = 0;
  std::int64_t first_row = 0;  // the place of the first among all rows
  const std::uint64_t* ids = nullptr;
  const std::uint8_t* codes = nullptr;
  const RaBitQCorrection* corrections = nullptr;  // null with plain sign bits
  const std::byte* vectors = nullptr;             // null where none are kept
};

/// Says which rows may be found. Called on any thread, and only for rows near enough.
using RowFilter = std::function<bool(std::uint64_t id, std::int64_t row)>;

/// Throws Error where queries have other dimensions than the rows, or one is not finite.
inline void check_queries(const Vectors& queries, const RowEncoder& encoder) {
  const Index dims = encoder.parameters().dims;
  if (queries.cols() != dims) {
    fail("queries of ", queries.cols(), " dimensions, the index has ", dims);
  }
  for (Index i = 0; i < queries.rows(); ++i) {
    if (!queries.row(i).allFinite()) fail("query ", i, ": is not finite");
  }
}

namespace scan_detail {

/// Runs `prepare`, and names the query by its number in the Error that it throws.
template <class Prepare>
void prepare_query(Index number, Prepare prepare) {
  try {
    prepare();
  } catch (const Error& error) {
    fail("query ", number, ": ", error.what());
  }
}

}  // namespace scan_detail

/// Queries ready for a scan; they share the width of their codes.
class ScanQueries {
 public:
  /// Room for some queries with codes of `query_bits`, 1 to 8. Throws Error for other widths.
  ScanQueries(const RowEncoder& encoder, int query_bits, Index count)
      : encoder_(&encoder), bits_(query_bits) {
    check_code_bits("query", query_bits);
    const IndexParameters& parameters = encoder.parameters();
    stride_ = nibble::code_bytes(parameters.dims, query_bits);
    most_ = largest_code_product(parameters.dims, query_bits, std::max(parameters.code_bits, 1));
    codes_.resize(static_cast<std::size_t>(count * stride_));
    terms_.resize(static_cast<std::size_t>(count));
  }

  /// Queries relative to the centre. Throws Error as `check_queries` too.
  ScanQueries(const Vectors& queries, const RowEncoder& encoder, int query_bits, ExecutorRef pool)
      : ScanQueries(encoder, query_bits, queries.rows()) {
    check_queries(queries, encoder);
    pool.run(queries.rows(), [&](Index i, int) {
      const std::span query(queries.row(i).data(), static_cast<std::size_t>(queries.cols()));
      RowEncoder::Scratch scratch;
      if (encoder.rabitq() == nullptr) return set_signs(i, query, scratch);
      scan_detail::prepare_query(i, [&] {
        const RaBitQQuery prepared = encoder.rabitq()->encode_query(query, bits_);
        std::copy_n(prepared.data(), stride_, codes_.data() + i * stride_);
        terms_[static_cast<std::size_t>(i)] = {prepared.scale, prepared.centre_product};
      });
    });
  }

  /// Makes a query ready, as centroids are (`RowEncoder::turn`), for the rows of a list.
  void set_in_list(Index place, std::span<const float> query, Index list,
                   RowEncoder::Scratch& scratch) {
    if (encoder_->rabitq() == nullptr) return set_signs(place, query, scratch);
    const std::span<const float> centroid = (*encoder_->centroids())[list];
    const RaBitQCorrection correction =
        encoder_->rabitq()->encode_rotated(query, centroid, bits_, StepChoice::Gaussian,
                                           codes_.data() + place * stride_, scratch.rabitq);
    const auto dims = static_cast<Index>(query.size());
    const float centre_product = Eigen::Map<const Eigen::VectorXf>(query.data(), dims)
                                     .dot(Eigen::Map<const Eigen::VectorXf>(centroid.data(), dims));
    terms_[static_cast<std::size_t>(place)] = {correction.scale, centre_product};
  }

  [[nodiscard]] Index count() const noexcept { return static_cast<Index>(terms_.size()); }

  /// Some of the codes, for the kernel.
  [[nodiscard]] BitPlanes codes(Index first, Index count) const noexcept {
    return {codes_.data() + first * stride_, count, stride_, bits_};
  }

  /// The scores of some rows by their distances, [count] each: with RaBitQ the estimated inner
  /// products, for plain sign bits the cosine of the angle between the query's code and the row's.
  /// Returns whether one is the threshold or more.
  [[nodiscard]] bool score(Index query, const std::int32_t* distances,
                           const RaBitQCorrection* corrections, Index count, float threshold,
                           float* scores, const SearchKernels& kernels) const noexcept {
    const Terms& terms = terms_[static_cast<std::size_t>(query)];
    return kernels.score_codes({distances, corrections, count, most_, terms.scale,
                                terms.centre_product, threshold, scores});
  }

 private:
  /// For rows of plain sign bits.
  void set_signs(Index place, std::span<const float> query, RowEncoder::Scratch& scratch) {
    OddLevelScratch& levels = scratch.rabitq.levels;
    static_cast<void>(encode_odd_levels(query, bits_, codes_.data() + place * stride_, levels));
    const double squared_norms = levels.levels.square().sum() * static_cast<double>(query.size());
    terms_[static_cast<std::size_t>(place)] = {static_cast<float>(1 / std::sqrt(squared_norms)), 0};
  }

  struct Terms {
    float scale = 0, centre_product = 0;  // as RaBitQQuery's
  };

  const RowEncoder* encoder_;
  int bits_;
  Index stride_ = 0;
  std::int32_t most_ = 0;
  std::vector<std::uint8_t> codes_;  // [queries][stride]
  std::vector<Terms> terms_;
};

namespace scan_detail {

inline constexpr Index block_rows = 64;       // whose distances are computed before they are used
inline constexpr Index task_rows = 8192;      // a task of a thread
inline constexpr Index queries_at_once = 64;  // that share a pass over the codes

/// Shows rows [first, end) to the Nearest of each of the queries [begin, begin + group), which
/// `nearest_of` finds by its number in the group. Scratch: distances[group][block_rows].
template <class NearestOf>
void scan_rows(const ScanQueries& queries, Index begin, Index group, const RowSpan& rows,
               Index first, Index end, const RowEncoder& encoder, const RowFilter& filter,
               const SearchKernels& kernels, std::int32_t* distances, NearestOf nearest_of) {
  const Index code_bytes = encoder.row_bytes().code;
  const int planes = std::max(encoder.parameters().code_bits, 1);
  for (; first < end; first += block_rows) {
    const Index block = std::min(block_rows, end - first);
    kernels.hamming_distances({queries.codes(begin, group),
                               {rows.codes + first * code_bytes, block, code_bytes, planes},
                               code_bytes / planes,
                               distances,
                               block_rows});
    const RaBitQCorrection* corrections =
        rows.corrections == nullptr ? nullptr : rows.corrections + first;
    for (Index q = 0; q < group; ++q) {
      Nearest& nearest = nearest_of(q);
      float scores[block_rows];
      if (!queries.score(begin + q, distances + q * block_rows, corrections, block,
                         nearest.threshold(), scores, kernels)) {
        continue;
      }
      for (Index i = 0; i < block; ++i) {
        if (scores[i] < nearest.threshold()) continue;
        const Neighbour candidate{rows.ids[first + i], scores[i], rows.first_row + first + i};
        if (!filter || filter(candidate.id, candidate.row)) nearest.add(candidate);
      }
    }
  }
}

/// Appends to `all` what the workers found for each query of a group, [workers][group].
inline void join(std::vector<Nearest>& found, std::size_t group, std::vector<Nearest>& all) {
  for (std::size_t q = 0; q < group; ++q) {
    for (std::size_t i = q + group; i < found.size(); i += group) {
      for (const Neighbour& each : found[i].kept()) found[q].add(each);
    }
    all.push_back(std::move(found[q]));
  }
}

}  // namespace scan_detail

/// The `count` nearest rows of each query, by `ScanQueries::score`. The same for any number of
/// threads. Up to 64 queries share a pass over the codes.
[[nodiscard]] inline std::vector<Nearest> scan(const ScanQueries& queries,
                                               std::span<const RowSpan> spans,
                                               const RowEncoder& encoder, std::size_t count,
                                               const RowFilter& filter, ExecutorRef pool,
                                               const SearchKernels& kernels) {
  using namespace scan_detail;
  struct Task {
    const RowSpan* rows;
    Index first;
  };
  std::vector<Task> tasks;
  for (const RowSpan& rows : spans) {
    for (Index first = 0; first < rows.count; first += task_rows) tasks.push_back({&rows, first});
  }
  std::vector<Nearest> all;
  for (Index begin = 0; begin < queries.count(); begin += queries_at_once) {
    const Index group = std::min(queries_at_once, queries.count() - begin);
    const auto group_size = static_cast<std::size_t>(group);
    const auto workers = static_cast<std::size_t>(pool.size());
    std::vector<Nearest> found(workers * group_size, Nearest(count));
    std::vector<std::int32_t> scratch(workers * group_size * block_rows);
    pool.run(static_cast<Index>(tasks.size()), [&](Index number, int worker) {
      const Task& task = tasks[static_cast<std::size_t>(number)];
      Nearest* nearest = found.data() + static_cast<std::size_t>(worker) * group_size;
      std::int32_t* distances =
          scratch.data() + static_cast<std::size_t>(worker) * group_size * block_rows;
      scan_rows(queries, begin, group, *task.rows, task.first,
                std::min(task.rows->count, task.first + task_rows), encoder, filter, kernels,
                distances, [&](Index q) -> Nearest& { return nearest[q]; });
    });
    join(found, group_size, all);
  }
  return all;
}

}  // namespace nibble
