#!/usr/bin/env bash
# Installs what nibble's programs need, with the argument "test" what its tests need besides, and
# with "aarch64" what builds and runs them for 64-bit ARM:
#   scripts/setup.sh [test | aarch64]
# Debian 12 and Ubuntu 24.04, for aarch64 Debian 12 alone. Asks for root only when something is missing.
set -euo pipefail

# Each is "what to look for:package"; what starts with a slash is looked for with dpkg-query.
wanted=(g++:g++ cmake:cmake ninja:ninja-build pkg-config:pkgconf
  /:libeigen3-dev /:libxsimd-dev /:nlohmann-json3-dev /:libpcre2-dev /:libutf8proc-dev
  /:libcli11-dev)
case "${1-}" in
  "") ;;
  test) wanted+=(/:catch2 clang++:clang clang-format:clang-format /:libclang-rt-dev
    qemu-x86_64:qemu-user) ;;
  aarch64)
    wanted=(cmake:cmake ninja:ninja-build pkg-config:pkgconf
      aarch64-linux-gnu-g++:g++-aarch64-linux-gnu qemu-aarch64:qemu-user)
    ;;
  *)
    echo "usage: scripts/setup.sh [test | aarch64]" >&2
    exit 2
    ;;
esac

system=unknown
if [ -r /etc/os-release ]; then
  system=$(. /etc/os-release && echo "${ID-}:${VERSION_ID-}")
fi
if [ "${1-}" = aarch64 ] && [ "$system" != debian:12 ]; then
  echo "error: the build for aarch64 takes the packages of Debian 12, and this is $system" >&2
  exit 1
fi
case "$system" in
  debian:12 | ubuntu:24.04) apt=yes ;;
  *)
    apt=no
    wanted+=(git:git)  # with which CMake downloads libraries
    ;;
esac

is_there() {  # command-or-slash package
  if [ "$1" != / ]; then
    command -v "$1" >/dev/null
  else
    [ "$apt" = no ] || [[ $(dpkg-query -W -f '${Status}' "$2" 2>/dev/null) == *" installed" ]]
  fi
}

missing=()
for entry in "${wanted[@]}"; do
  is_there "${entry%%:*}" "${entry#*:}" || missing+=("${entry#*:}")
done

if [ "$apt" = no ]; then
  if [ ${#missing[@]} -ne 0 ]; then
    {
      echo "error: this script installs packages on Debian 12 and Ubuntu 24.04 only, not on $system."
      echo "Install these yourself (Debian's names): ${missing[*]}"
    } >&2
    exit 1
  fi
  echo "setup: $system is not Debian 12 or Ubuntu 24.04: CMake will look for the libraries," \
    "and download those that it does not find."
  exit 0
fi

if [ ${#missing[@]} -eq 0 ]; then
  echo "setup: everything is installed"
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    {
      echo "error: packages are missing, and there is no sudo. As root, run:"
      echo "  apt-get update && apt-get install --no-install-recommends ${missing[*]}"
    } >&2
    exit 1
  fi
  as_root=(sudo)
fi

echo "setup: installing ${missing[*]}"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null
echo "setup: done"
