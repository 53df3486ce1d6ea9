// What a search of an index does: codes first, then the best of them once more by kept vectors.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include <nibble/core/error.hpp>
#include <nibble/core/executor.hpp>
#include <nibble/search/kept_query.hpp>
#include <nibble/search/list_scan.hpp>
#include <nibble/search/nearest.hpp>
#include <nibble/search/row_encoder.hpp>
#include <nibble/search/row_table.hpp>
#include <nibble/search/scan.hpp>

namespace nibble {

/// What is looked for.
struct SearchOptions {
  std::size_t count = 10;
  /// Bits of the queries' codes, 1 to 8; 0: 4 for rows of one bit, else 8. With 1, plain sign bits
  /// are compared with sign bits, so that the order is that of Hamming distances.
  int query_bits = 0;
  /// So many times `count` rows are taken by their codes and re-ranked by kept vectors; 0: none is
  /// re-ranked, and scores are those of the codes.
  double oversampling = 4;
  std::function<bool(std::uint64_t id)> filter = {};  // what may be found; called on any thread
  /// Lists that are looked into for each query, where the index has lists; those of the nearest
  /// centroids. All, or more than there are: the scan is exact but for the codes.
  std::size_t probes = 16;
};

namespace index_search_detail {

/// Those `count` of the candidates whose kept vectors are nearest to a query, by that.
[[nodiscard]] inline std::vector<Neighbour> rerank(std::span<const Neighbour> candidates,
                                                   std::size_t count, const KeptQuery& query,
                                                   std::span<const RowSpan> spans,
                                                   const RowEncoder& encoder,
                                                   const SearchKernels& kernels) {
  Nearest nearest(count);
  for (Neighbour each : candidates) {
    const auto after = std::ranges::upper_bound(spans, each.row, {}, &RowSpan::first_row);
    const RowSpan& span = *(after - 1);
    each.score = query.product(
        span.vectors + (each.row - span.first_row) * encoder.row_bytes().vector, kernels);
    nearest.add(each);
  }
  return std::move(nearest).take();
}

}  // namespace index_search_detail

/// The nearest rows of each query, [queries][dims], the nearest first, ties by id. The same for any
/// number of threads. Throws Error where a query has other dimensions or is not finite, or an
/// option is out of range.
[[nodiscard]] inline std::vector<std::vector<Neighbour>> search_rows(
    const RowTable& table, const RowEncoder& encoder, const Vectors& queries,
    const SearchOptions& options, ExecutorRef pool, const SearchKernels& kernels) {
  const IndexParameters& parameters = encoder.parameters();
  if (!(options.oversampling >= 0) || options.oversampling > 1e6) {
    fail("oversampling: expected 0 to 1000000, found ", options.oversampling);
  }
  if (options.probes < 1) fail("probes: expected 1 or more, found 0");
  const int query_bits = options.query_bits != 0     ? options.query_bits
                         : parameters.code_bits <= 1 ? 4
                                                     : 8;
  const bool reranked = options.oversampling > 0 && parameters.kept != KeptVectors::None;
  const auto most = static_cast<std::size_t>(table.rows() - table.removed_count());
  const std::size_t count = std::min(options.count, most);
  std::size_t candidates = count;
  if (reranked) {
    const double wanted = std::ceil(options.oversampling * static_cast<double>(count));
    candidates = std::clamp(static_cast<std::size_t>(wanted), count, std::max(count, most));
  }
  RowFilter filter;
  if (table.removed_count() > 0 || options.filter) {
    filter = [&](std::uint64_t id, std::int64_t row) {
      return !table.is_removed(row) && (!options.filter || options.filter(id));
    };
  }
  const std::vector<RowSpan> spans = table.spans();
  std::vector<Nearest> found = encoder.centroids() != nullptr
                                   ? scan_lists(queries, query_bits, options.probes, table.stores(),
                                                encoder, candidates, filter, pool, kernels)
                                   : scan(ScanQueries(queries, encoder, query_bits, pool), spans,
                                          encoder, candidates, filter, pool, kernels);
  std::vector<std::vector<Neighbour>> results(found.size());
  pool.run(static_cast<Index>(found.size()), [&](Index q, int) {
    const auto i = static_cast<std::size_t>(q);
    results[i] = std::move(found[i]).take();
    if (!reranked) return;
    const KeptQuery query({queries.row(q).data(), static_cast<std::size_t>(queries.cols())},
                          parameters);
    results[i] = index_search_detail::rerank(results[i], count, query, spans, encoder, kernels);
  });
  return results;
}

}  // namespace nibble
