// What the C library keeps of freed memory.
#pragma once

#include <cstdlib>  // and with it the name of the C library

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace nibble::example {

/// Has blocks of a megabyte and more go back to the system as soon as they are freed. By itself
/// glibc keeps blocks of up to 32 MB once it has seen one freed, and a program that makes and frees
/// many of different sizes grows by a tenth beyond what it holds.
inline void return_freed_memory() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
}

}  // namespace nibble::example
