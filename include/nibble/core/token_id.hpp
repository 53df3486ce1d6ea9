// TokenId: the number by which models and tokenizers know a token.
#pragma once

#include <cstdint>

namespace nibble {

/// A row of the embedding. Valid ids are not negative.
using TokenId = std::int32_t;

}  // namespace nibble
