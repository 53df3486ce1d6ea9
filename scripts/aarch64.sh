#!/usr/bin/env bash
# Builds nibble for 64-bit ARM and runs the tests under qemu: with the dot-product instructions all
# of them, for the baseline those of its kernels. With names of folders in tests/, only these and
# only with the dot-product instructions:
#   scripts/aarch64.sh [folder...]
# Debian 12. The cross compiler and qemu are installed if they are missing, which takes root; the
# libraries are unpacked below build/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for folder in "$@"; do
  if [ ! -f "tests/$folder/CMakeLists.txt" ]; then
    echo "error: there is no folder tests/$folder" >&2
    exit 2
  fi
done

scripts/setup.sh aarch64

sysroot=build/aarch64-sysroot
libraries=(libeigen3-dev libxsimd-dev nlohmann-json3-dev libpcre2-dev libutf8proc-dev libcli11-dev
  catch2)
if [ ! -d $sysroot ]; then
  echo "aarch64: unpacking libraries into $sysroot"
  work="$PWD/$sysroot.part"
  rm -rf "$work"
  mkdir -p "$work"/{lists,cache/archives,download}/partial "$work/root"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
    "http://deb.debian.org/debian bookworm main" >"$work/sources.list"
  # An apt of its own, so that the machine's is not told of a second architecture.
  apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64
    -o APT::Sandbox::User="$(id -un)" -o Dir::Etc::SourceList="$work/sources.list"
    -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$work/lists"
    -o Dir::State::status=/dev/null -o Dir::Cache="$work/cache")
  "${apt[@]}" update
  (cd "$work/download" && "${apt[@]}" download "${libraries[@]}")
  for package in "$work"/download/*.deb; do dpkg-deb -x "$package" "$work/root"; done
  mv "$work/root" $sysroot
  rm -rf "$work"
fi

export CTEST_PARALLEL_LEVEL="${CTEST_PARALLEL_LEVEL:-$(nproc)}"
export CMAKE_BUILD_PARALLEL_LEVEL="${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}"

run() {  # preset, folders: all where none is given
  local preset=$1 folder
  shift
  echo
  echo "==== preset $preset: ${*:-all tests}"
  cmake --preset "$preset"
  if [ $# -eq 0 ]; then
    cmake --build --preset "$preset"
    ctest --preset "$preset"
  else
    local targets=()
    for folder in "$@"; do targets+=("nibble_${folder}_tests"); done
    cmake --build --preset "$preset" --target "${targets[@]}"
    ctest --preset "$preset" -L "^($(IFS='|' && echo "$*"))\$"
  fi
}

if [ $# -ne 0 ]; then
  run aarch64 "$@"
else
  run aarch64
  run aarch64-generic simd format kernels
fi
