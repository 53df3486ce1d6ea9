#!/usr/bin/python3
"""Compares nibble's Linear layers with PyTorch's and OpenBLAS's, on one thread, in one run.

The layers are those of DeBERTa-v2-xlarge. Every round times each library once, one after the other,
and nibble twice, before and after its peers; a ratio is the median over the rounds of a peer's time
over the mean of nibble's two. Times are of whole layers: quantizing the inputs is in them.
"""

import argparse
import ctypes
import json
import os
import re
import statistics
import subprocess
import sys
import time

SHAPES = ((1536, 1536), (6144, 1536), (1536, 6144))  # outputs x inputs
TOKENS = (1, 32, 512)
LEAST_SECONDS = 0.03  # of a timing

# A peer, which of nibble's formats it is compared with, and the heading of the ratio.
COMPARISONS = (
    ("torch int8", "zero-one-int8", "zero-one:torch int8"),
    ("torch int8", "int8", "int8:torch int8"),
    ("torch float32", "zero-one-int8", "zero-one:torch f32"),
    ("torch float32", "int8", "int8:torch f32"),
    ("OpenBLAS sgemm", "float32", "float32:sgemm"),
)


def fail(message):
    sys.exit(f"error: {message}")


def import_torch():
    try:
        import torch
    except ImportError:
        fail("PyTorch is missing for /usr/bin/python3; run: apt-get install python3-torch")
    torch.set_num_threads(1)
    if "onednn" not in torch.backends.quantized.supported_engines:
        fail("this PyTorch lacks the quantized engine onednn, found "
             f"{torch.backends.quantized.supported_engines}")
    torch.backends.quantized.engine = "onednn"
    return torch


def onednn_version():
    """The version of PyTorch's oneDNN and the instruction set that it takes, as it says itself."""
    script = ("import torch; torch.backends.quantized.engine = 'onednn'; "
              "torch.quantization.quantize_dynamic("
              "torch.nn.Sequential(torch.nn.Linear(4, 4)), {torch.nn.Linear})")
    log = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True,
                         env={**os.environ, "ONEDNN_VERBOSE": "1"}).stdout
    version = re.search(r"info,(oneDNN v\S+)", log)
    isa = re.search(r"cpu,isa:(.*)", log)
    return (version.group(1) if version else "oneDNN of unknown version",
            isa.group(1) if isa else "unknown instruction set")


def load_openblas():
    try:
        library = ctypes.CDLL("libopenblas.so.0")
    except OSError:
        fail("OpenBLAS is missing; run: apt-get install libopenblas0")
    library.openblas_get_config.restype = ctypes.c_char_p
    library.openblas_set_num_threads(1)
    return library


def seconds_of(call):
    """The mean time of a call over some milliseconds, after one that warms up."""
    call()
    calls, total, start = 0, 0.0, time.perf_counter()
    while total < LEAST_SECONDS:
        call()
        calls += 1
        total = time.perf_counter() - start
    return total / calls


class Nibble:
    """nibble-peers, asked by lines."""

    def __init__(self, program):
        try:
            self.process = subprocess.Popen([program], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, text=True)
        except OSError as error:
            fail(f"{program}: {error.strerror}; bench/peers/run.sh builds it")
        self.isa = self.process.stdout.readline().strip()

    def seconds(self, layout, rows, cols, tokens):
        print(layout, rows, cols, tokens, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        try:
            return float(answer)
        except ValueError:
            fail(f"nibble-peers: {answer or 'ended'}")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def peers_of(torch, openblas, rows, cols, tokens):
    """The calls to time, by name."""
    torch.manual_seed(1)
    inputs = torch.rand(tokens, cols) * 2 - 1
    linear = torch.nn.Linear(cols, rows, bias=False).eval()
    quantized = torch.quantization.quantize_dynamic(
        torch.nn.Sequential(linear), {torch.nn.Linear}, dtype=torch.qint8)[0]
    weights, outputs = linear.weight.detach(), torch.empty(tokens, rows)

    def sgemm():
        # outputs = inputs * weights^T, row-major: CblasRowMajor 101, NoTrans 111, Trans 112
        openblas.cblas_sgemm(101, 111, 112, tokens, rows, cols, ctypes.c_float(1),
                             ctypes.c_void_p(inputs.data_ptr()), cols,
                             ctypes.c_void_p(weights.data_ptr()), cols, ctypes.c_float(0),
                             ctypes.c_void_p(outputs.data_ptr()), rows)

    return {
        "torch float32": lambda: linear(inputs),
        "torch int8": lambda: quantized(inputs),
        "OpenBLAS sgemm": sgemm,
    }


def measure(torch, openblas, nibble, rows, cols, tokens, rounds):
    """The times of each library and the ratios of each comparison: medians."""
    peers = peers_of(torch, openblas, rows, cols, tokens)
    formats = sorted({ours for _, ours, _ in COMPARISONS})
    times = {name: [] for name in (*peers, *formats)}
    ratios = {comparison: [] for comparison in COMPARISONS}
    for _ in range(rounds):
        before = {each: nibble.seconds(each, rows, cols, tokens) for each in formats}
        theirs = {name: seconds_of(call) for name, call in peers.items()}
        after = {each: nibble.seconds(each, rows, cols, tokens) for each in formats}
        ours = {each: (before[each] + after[each]) / 2 for each in formats}
        for name, seconds in {**theirs, **ours}.items():
            times[name].append(seconds)
        for comparison in COMPARISONS:
            peer, layout, _ = comparison
            ratios[comparison].append(theirs[peer] / ours[layout])
    return {
        "rows": rows, "cols": cols, "tokens": tokens,
        "microseconds": {name: 1e6 * statistics.median(each) for name, each in times.items()},
        "times_as_fast": [
            {"peer": peer, "nibble": layout, "ratio": statistics.median(each)}
            for (peer, layout, _), each in ratios.items()],
    }


def print_table(header, rows):
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        print("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(row, widths))))
        if row is header:
            print("-" * (sum(widths) + 2 * (len(widths) - 1)))


def print_results(results):
    label = "{rows}x{cols}, tokens: {tokens}".format_map
    names = list(results[0]["microseconds"])
    print("microseconds of a layer")
    print_table(["outputs x inputs", *names],
                [[label(each), *(f"{each['microseconds'][name]:.0f}" for name in names)]
                 for each in results])
    print("\ntimes as fast as the peer")
    print_table(
        ["outputs x inputs", *(heading for _, _, heading in COMPARISONS)],
        [[label(each), *(f"{ratio['ratio']:.2f}" for ratio in each["times_as_fast"])]
         for each in results])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", metavar="NIBBLE_PEERS", help="the program nibble-peers")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of timings (default: 7)")
    parser.add_argument("--json", action="store_true",
                        help="print one JSON object on standard output")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        fail(f"--rounds: expected 1 or more, found {arguments.rounds}")
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(variable) != "1":
            fail(f"{variable}: must be 1, as in bench/peers/run.sh")
    torch, openblas = import_torch(), load_openblas()
    version, isa = onednn_version()
    nibble = Nibble(arguments.program)

    results = []
    for rows, cols in SHAPES:
        for tokens in TOKENS:
            print(f"{rows}x{cols}, tokens: {tokens}", file=sys.stderr, flush=True)
            results.append(measure(torch, openblas, nibble, rows, cols, tokens, arguments.rounds))
    nibble.close()

    setting = {
        "nibble": nibble.isa,
        "torch": torch.__version__,
        "torch_engine": torch.backends.quantized.engine,
        "onednn": version,
        "onednn_isa": isa,
        "openblas": openblas.openblas_get_config().decode(),
        "threads": 1,
        "rounds": arguments.rounds,
    }
    if arguments.json:
        print(json.dumps({**setting, "results": results}, indent=1))
        return
    print("nibble: {nibble}\n"
          "PyTorch {torch}, quantize_dynamic on engine {torch_engine}: {onednn}, {onednn_isa}\n"
          "{openblas}\n"
          "1 thread; medians of {rounds} rounds\n".format_map(setting))
    print_results(results)


if __name__ == "__main__":
    main()
