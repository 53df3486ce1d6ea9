// A program that uses the core alone.
#include <nibble/core/error.hpp>

int main() {
  try {
    nibble::fail("group_size is ", 0);
  } catch (const nibble::Error& error) {
    return error.what() == nibble::concat("group_size is ", 0) ? 0 : 1;
  }
}
