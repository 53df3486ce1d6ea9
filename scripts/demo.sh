#!/usr/bin/env bash
# Builds nibble's programs for this machine, compares the bit-widths on the model that comes with
# nibble, and lets it write: the table and the text appear here, the plot under build/demo/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh

programs=build/demo/examples
model=examples/models/novella-5m
text=examples/texts/treasure_island.txt
log=build/demo.log
export CMAKE_BUILD_PARALLEL_LEVEL="${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}"

mkdir -p build
echo "demo: building the programs, which takes a few minutes (log: $log)"
if ! cmake --workflow --preset demo >"$log" 2>&1; then
  tail -n 40 "$log" >&2
  echo "error: the build failed; all of its output is in $log" >&2
  exit 1
fi

echo "demo: $model at every bit-width, on $text"
"$programs/nibble-compare" "$model" "$text" --output build/demo

echo
echo "demo: $model goes on with a story"
"$programs/nibble-generate" "$model" "The captain looked at the map and" -n 80 --temperature 0.8 --top-p 0.95 --seed 1

echo
echo "demo: the figures are in build/demo/compare.json, the plot in build/demo/compare.svg"
