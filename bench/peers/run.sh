#!/usr/bin/env bash
# Builds nibble-peers and compares it with PyTorch and OpenBLAS as Debian packages them:
#   bench/peers/run.sh [--json] [--rounds N]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

missing=()
for package in libbenchmark-dev libopenblas0 python3-torch; do
  [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == *" installed" ]] ||
    missing+=("$package")
done
if [ ${#missing[@]} -ne 0 ]; then
  echo "error: packages are missing; run: apt-get install ${missing[*]}" >&2
  exit 1
fi

cmake --preset bench >/dev/null
cmake --build --preset bench --target nibble-peers >&2
export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1
exec /usr/bin/python3 bench/peers/compare.py build/bench/bench/nibble-peers "$@"
