#!/usr/bin/env bash
# Everything that must hold before a change goes in: the tests with g++, every header by itself with
# clang++ (with g++: cmake --workflow --preset headers), the tests once more under clang++'s
# sanitizers, and for 64-bit ARM those of the kernels (all of them: scripts/aarch64.sh). Stops at the
# first failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

passed=()
step="set-up"
finish() {
  local status=$?
  for line in "${passed[@]}"; do echo "passed: $line"; done
  if [ $status -eq 0 ]; then
    echo "test.sh: everything passed"
  else
    echo "test.sh: FAILED: $step"
  fi
}
trap finish EXIT

scripts/setup.sh test

export CTEST_PARALLEL_LEVEL="${CTEST_PARALLEL_LEVEL:-$(nproc)}"
export CMAKE_BUILD_PARALLEL_LEVEL="${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}"

run() {  # preset, what it shows
  local log="build/$1.log" line closing=""
  step="$2 (preset $1)"
  echo
  echo "==== $step"
  mkdir -p build
  cmake --workflow --preset "$1" 2>&1 | tee "$log"
  while read -r line; do
    case "$line" in *"tests passed"*) closing=": $line" ;; esac
  done <"$log"
  passed+=("$step$closing")
}

step="the code's format"
if [[ $(clang-format --version) == *"version 14."* ]]; then
  find bench examples include tests -name '*.[hc]pp' -exec clang-format --dry-run -Werror {} +
  passed+=("every file is as clang-format has it")
else
  echo "test.sh: no format check, which takes clang-format 14 (others differ in details)"
fi

run test "g++: all tests"
run clang "clang++: every header by itself"
run asan "clang++ with address and undefined-behaviour sanitizers: all tests but packaging and commands"

step="64-bit ARM under qemu: tests of the kernels and layers (preset aarch64)"
scripts/aarch64.sh simd format kernels nn
passed+=("$step")
