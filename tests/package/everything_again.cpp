// The second translation unit beside everything.cpp.
#include <nibble/nibble.hpp>
