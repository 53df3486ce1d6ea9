// A program that uses all of nibble.
#include <nibble/nibble.hpp>

int main() {
  return nibble::concat("nibble") == "nibble" ? 0 : 1;
}
