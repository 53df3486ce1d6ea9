// The scan of an inverted file: for each query, the rows of the lists whose centroids are nearest.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include <nibble/core/executor.hpp>
#include <nibble/core/matrix.hpp>
#include <nibble/search/centroids.hpp>
#include <nibble/search/nearest.hpp>
#include <nibble/search/row_store.hpp>
#include <nibble/search/scan.hpp>

namespace nibble {

namespace list_scan_detail {

/// A list that a query looks into.
struct Probe {
  std::uint32_t list = 0;
  std::uint32_t query = 0;

  friend bool operator<(const Probe& a, const Probe& b) noexcept {
    return std::tie(a.list, a.query) < std::tie(b.list, b.query);
  }
};

/// The nearest lists of each query, [queries][dims] as centroids are; sorted by list.
[[nodiscard]] inline std::vector<Probe> nearest_lists(const Matrix& queries,
                                                      const Centroids& centroids,
                                                      std::size_t probes, ExecutorRef pool,
                                                      const SearchKernels& kernels) {
  constexpr Index run = 256;
  Matrix scores(queries.rows(), centroids.count());
  pool.run(divide_up(centroids.count(), run), [&](Index task, int) {
    const Index first = task * run;
    centroids.score(queries.data(), queries.rows(), first, std::min(run, centroids.count() - first),
                    scores.data() + first, scores.cols(), kernels);
  });
  std::vector<Nearest> nearest(static_cast<std::size_t>(queries.rows()), Nearest(probes));
  pool.run(queries.rows(), [&](Index query, int) {
    for (Index list = 0; list < centroids.count(); ++list) {
      nearest[static_cast<std::size_t>(query)].add(
          {static_cast<std::uint64_t>(list), scores(query, list), list});
    }
  });
  std::vector<Probe> all;
  for (std::size_t query = 0; query < nearest.size(); ++query) {
    for (const Neighbour& each : nearest[query].kept()) {
      all.push_back({static_cast<std::uint32_t>(each.id), static_cast<std::uint32_t>(query)});
    }
  }
  std::ranges::sort(all, std::less<>());
  return all;
}

/// What a thread does at a time: some rows of a list for all queries that look into it.
struct Task {
  std::span<const Probe> probes;
  std::vector<RowStore::Piece> pieces;
};

[[nodiscard]] inline std::vector<Task> make_tasks(std::span<const Probe> probes,
                                                  std::span<const RowStore> stores) {
  std::vector<Task> tasks;
  while (!probes.empty()) {
    const std::uint32_t list = probes.front().list;
    const auto other = std::ranges::find_if(probes, [&](Probe p) { return p.list != list; });
    const auto size = static_cast<std::size_t>(other - probes.begin());
    Index room = 0;  // in the last task
    std::int64_t first_row = 0;
    for (const RowStore& store : stores) {
      RowStore::Piece rest = store.list(list, first_row);
      first_row += store.count();
      while (rest.count > 0) {
        if (room == 0) {
          tasks.push_back({probes.first(size), {}});
          room = scan_detail::task_rows;
        }
        RowStore::Piece piece = rest;
        piece.count = std::min(rest.count, room);
        tasks.back().pieces.push_back(piece);
        rest.first += piece.count;
        rest.first_row += piece.count;
        rest.count -= piece.count;
        room -= piece.count;
      }
    }
    probes = probes.subspan(size);
  }
  return tasks;
}

}  // namespace list_scan_detail

/// The `count` nearest rows of each query, [queries][dims], in its `probes` nearest lists; by
/// `ScanQueries::score` of codes relative to the list's centroid. The same for any number of
/// threads. Up to 64 queries share a pass over the lists. Throws as ScanQueries.
[[nodiscard]] inline std::vector<Nearest> scan_lists(const Vectors& queries, int query_bits,
                                                     std::size_t probes,
                                                     std::span<const RowStore> stores,
                                                     const RowEncoder& encoder, std::size_t count,
                                                     const RowFilter& filter, ExecutorRef pool,
                                                     const SearchKernels& kernels) {
  using namespace list_scan_detail;
  using scan_detail::block_rows, scan_detail::queries_at_once;
  struct Scratch {
    ScanQueries queries;
    std::vector<std::int32_t> distances;
    RowEncoder::Scratch encoding;
  };
  check_queries(queries, encoder);
  const auto workers = static_cast<std::size_t>(pool.size());
  std::vector<Scratch> all_scratch;
  for (std::size_t worker = 0; worker < workers; ++worker) {
    all_scratch.push_back({ScanQueries(encoder, query_bits, queries_at_once),
                           std::vector<std::int32_t>(queries_at_once * block_rows),
                           {}});
  }
  std::vector<Nearest> all;
  for (Index begin = 0; begin < queries.rows(); begin += queries_at_once) {
    const Index group = std::min(queries_at_once, queries.rows() - begin);
    Matrix turned = queries.middleRows(begin, group);
    pool.run(group, [&](Index q, int) {
      encoder.turn({turned.row(q).data(), static_cast<std::size_t>(turned.cols())});
    });
    const auto lists = nearest_lists(turned, *encoder.centroids(), probes, pool, kernels);
    const std::vector<Task> tasks = make_tasks(lists, stores);
    const auto group_size = static_cast<std::size_t>(group);
    std::vector<Nearest> found(workers * group_size, Nearest(count));
    pool.run(static_cast<Index>(tasks.size()), [&](Index number, int worker) {
      const Task& task = tasks[static_cast<std::size_t>(number)];
      Scratch& scratch = all_scratch[static_cast<std::size_t>(worker)];
      Nearest* nearest = found.data() + static_cast<std::size_t>(worker) * group_size;
      for (std::size_t i = 0; i < task.probes.size(); ++i) {
        const Probe& probe = task.probes[i];
        scan_detail::prepare_query(begin + probe.query, [&] {
          scratch.queries.set_in_list(
              static_cast<Index>(i),
              {turned.row(probe.query).data(), static_cast<std::size_t>(turned.cols())}, probe.list,
              scratch.encoding);
        });
      }
      for (const RowStore::Piece& piece : task.pieces) {
        scan_detail::scan_rows(scratch.queries, 0, static_cast<Index>(task.probes.size()),
                               piece.store->rows(piece.first_row - piece.first), piece.first,
                               piece.first + piece.count, encoder, filter, kernels,
                               scratch.distances.data(), [&](Index q) -> Nearest& {
                                 return nearest[task.probes[static_cast<std::size_t>(q)].query];
                               });
      }
    });
    scan_detail::join(found, group_size, all);
  }
  return all;
}

}  // namespace nibble
