// A program that takes its kernels from nibble::dispatch.
#include <nibble/dispatch/dispatch.hpp>

int main() {
  float sums[20] = {};
  float addends[20];
  for (int i = 0; i < 20; ++i) addends[i] = static_cast<float>(i);
  nibble::dispatch::best().add(sums, addends, 20);
  return sums[19] == 19 ? 0 : 1;
}
