// nibble-search index, add, remove, compact and verify: an index is begun, changed and looked
// after.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include <nibble/core/progress.hpp>
#include <nibble/core/thread_pool.hpp>
#include <nibble/search/binary_index.hpp>

#include "common/passage_folder.hpp"
#include "common/search_arguments.hpp"

namespace nibble::example {

/// The passages of text files; where none are given, of the text that comes with nibble. Throws
/// Error.
[[nodiscard]] std::vector<Passage> read_texts(const std::vector<std::string>& files);

/// An empty index for such vectors. Throws Error, Cancelled.
[[nodiscard]] BinaryIndex make_index(const SearchArguments& options, const Matrix& vectors,
                                     ThreadPool& pool, const Progress& progress);

/// Tells what was added to an index; `agreement`, of bits that others made: the share of them that
/// the model gives too.
void report_index(const SearchArguments& options, const std::string& model,
                  const BinaryIndex& index, std::size_t added, double seconds, ThreadPool& pool,
                  std::optional<double> agreement = {});

/// The commands. Throw Error, Cancelled.
void run_index(const SearchArguments& options);
void run_add(const SearchArguments& options);
void run_remove(const SearchArguments& options);
void run_compact(const SearchArguments& options);
void run_verify(const SearchArguments& options);

}  // namespace nibble::example
