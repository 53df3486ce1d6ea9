#!/usr/bin/env bash
# Builds nibble-search-peers and compares search with FAISS as Debian packages it:
#   bench/peers/search.sh [--rows N] [--float-rows N] [--threads 1,2] [--rounds N] [--json]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

missing=()
for package in libbenchmark-dev libfaiss-dev libopenblas-dev; do
  [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == *" installed" ]] ||
    missing+=("$package")
done
if [ ${#missing[@]} -ne 0 ]; then
  echo "error: packages are missing; run: apt-get install ${missing[*]}" >&2
  exit 1
fi

cmake --preset bench >/dev/null
cmake --build --preset bench --target nibble-search-peers >&2
exec build/bench/bench/nibble-search-peers "$@"
