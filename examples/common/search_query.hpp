// nibble-search query: the passages that are nearest to a text.
#pragma once

#include "common/search_arguments.hpp"

namespace nibble::example {

/// Looks in the index that is named, or in the text that comes with nibble. Throws Error.
void run_query(const SearchArguments& options);

}  // namespace nibble::example
