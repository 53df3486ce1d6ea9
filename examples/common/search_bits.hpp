// nibble-search export and import: sign bits in files of numpy and FAISS.
#pragma once

#include "common/search_arguments.hpp"

namespace nibble::example {

/// Writes the bits of an index and, beside them, which passage each row is. Throws Error.
void run_export(const SearchArguments& options);

/// Begins an index of the bits that others made. Throws Error, Cancelled.
void run_import(const SearchArguments& options);

}  // namespace nibble::example
