"""Interleaved timing, and the arithmetic peak of the machine that it ran on."""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

LEAST_MS = 3.0  # of a repeat: shorter ones drown in the clock and in what a call before left in the caches
Work = Callable[[], object]

# Independent multiply-adds in registers: nothing but the arithmetic units can be the limit.
_LOOP = """
#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
typedef float V __attribute__((vector_size(4 * LANES)));
double multiply_add(long n, volatile float *io) {
  V sums[12], scale = io[0] - (V){}, step = io[1] - (V){};
  for (int i = 0; i < 12; ++i) sums[i] = io[2] + i - (V){};
  for (long k = 0; k < n; ++k) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) sums[i] = sums[i] * scale + step;
  }
  V all = sums[0];
  for (int i = 1; i < 12; ++i) all += sums[i];
  for (int i = 0; i < LANES; ++i) io[3] += all[i];
  return 2.0 * 12 * LANES * n;
}
"""


def interleaved(contenders: Mapping[str, Work], *, threads: int, repeats: int) -> dict[str, float]:
    """The median time of one call of each, in ms.

    All are called in turn, `repeats` times over, so that what else the machine does falls on all of them alike. A
    repeat is as many calls as take LEAST_MS, after one call that is not counted where calls are shorter than that. The
    clock is the thread's own for one thread (what other processes take is not in it) and the wall's for more.
    """
    now = time.thread_time if threads == 1 else time.perf_counter
    torch.set_num_threads(threads)
    calls = {}
    for name, work in contenders.items():
        work()
        calls[name] = max(1, math.ceil(LEAST_MS / max(_timed(work, 1, now), 1e-3)))
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, work in contenders.items():
            if calls[name] > 1:
                work()
            found[name].append(_timed(work, calls[name], now))
    return {name: statistics.median(times) for name, times in found.items()}


def _timed(work: Work, calls: int, now: Callable[[], float]) -> float:
    start = now()
    for _ in range(calls):
        work()
    return 1e3 * (now() - start) / calls


def peak_gflops(threads: int) -> tuple[float, str]:
    """Multiply-adds that `threads` threads do at best, in GFLOP/s, and how that was found."""
    with tempfile.TemporaryDirectory() as folder:
        loop = _compiled(Path(folder))
    if loop is None:
        return _matmul_gflops(threads), "a 2048x2048 matrix product, for want of a C compiler"
    with ThreadPoolExecutor(threads) as pool:
        rates = [sum(pool.map(loop, [20_000_000] * threads)) for _ in range(7)]
    # The largest: of a peak, everything that interferes only takes away.
    return max(rates), "a compiled loop of multiply-adds in registers"


def _compiled(folder: Path) -> Callable[[int], float] | None:
    """From how often the loop runs to this thread's GFLOP/s."""
    compiler = next(filter(None, (shutil.which(name) for name in (os.environ.get("CC") or "cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    source, library = folder / "peak.c", folder / "peak.so"
    source.write_text(_LOOP)
    built = subprocess.run(
        [compiler, "-O3", "-march=native", "-shared", "-fPIC", source, "-o", library], capture_output=True, check=False
    )
    if built.returncode:
        print(f"no loop for the peak: {built.stderr.decode(errors='replace')[:200]}", file=sys.stderr)
        return None
    function = ctypes.CDLL(str(library)).multiply_add
    function.argtypes, function.restype = [ctypes.c_long, ctypes.POINTER(ctypes.c_float)], ctypes.c_double

    def rate(count: int) -> float:
        start = time.thread_time()
        flops = function(count, (ctypes.c_float * 4)(0.999, 1e-6, 1.0, 0.0))
        return float(flops) / (time.thread_time() - start) / 1e9

    return rate


def _matmul_gflops(threads: int) -> float:
    left, right = torch.randn(2048, 2048), torch.randn(2048, 2048)
    ms = interleaved({"product": lambda: left @ right}, threads=threads, repeats=5)["product"]
    return 2 * 2048**3 / ms / 1e6
