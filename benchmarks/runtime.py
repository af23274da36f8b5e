"""Sparse layers beside dense ones, timed in one run: the tables of benchmarks/README.md.

    python benchmarks/runtime.py --quick                                     # a look, about a minute
    python benchmarks/runtime.py --section layers --batches 1,8 --threads 1,2
    python benchmarks/runtime.py --section layers --networks torchvision:resnet50 --layers --only 3x3/2

A ratio is dense time over sparse time, both medians of the same interleaved run: what the machine did meanwhile fell
on both. "Best dense" is, layer by layer, the fastest of eager, channels-last, and both with the weights packed by
oneDNN beforehand (with --compile also torch.compile). One thread is timed by its own clock, more by the wall's: run
that on a quiet machine. Outputs are checked against the masked dense layer first; no time is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence

import torch
from speed import layers, tables
from speed.clock import peak_gflops
from speed.contenders import Kind

from advisor.runtime import native
from advisor.runtime.native.tuner import cpu

NETWORKS = "torchvision:resnet50,torchvision:vgg16,torchvision:inception_v3,torchvision:mobilenet_v2"
DENSITIES = "0.5,0.25,0.125,0.0625"
Report = dict[str, object]


def section_layers(arguments: argparse.Namespace, peaks: dict[int, float]) -> Report:
    """Sums over the convolutions of whole networks."""
    measured = layers.measure(
        arguments.networks,
        kinds=arguments.patterns,
        densities=arguments.densities,
        batches=arguments.batches,
        threads=arguments.threads,
        repeats=arguments.repeats,
        compiled=arguments.compile,
        only=arguments.only,
        stride=4 if arguments.quick else 1,
    )
    cells = list(measured)
    rows = tables.with_share(layers.sums(cells, arguments.patterns, arguments.densities), peaks)
    means = layers.means(rows)
    if not arguments.json:
        if arguments.layers:
            print("\nratios over best dense, in brackets GFLOP/s of the kept connections\n")
            print(tables.layer_table(cells))
        print(f"\n{tables.table(rows)}\n\ngeometric means over networks\n\n{tables.table(means)}")
    detail = [
        {"network": c.network, "batch": c.batch, "threads": c.threads, "layer": c.shape.label, "count": c.count, **c.ms}
        for c in cells
    ]
    return {"sums": rows, "means": means, "layers": detail}


SECTIONS: dict[str, Callable[[argparse.Namespace, dict[int, float]], Report]] = {"layers": section_layers}


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


def _parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--section", type=_words, default=["layers"], help=f"of {', '.join(SECTIONS)}; several by commas")
    add("--networks", type=_words, default=_words(NETWORKS), help="by commas, as `advisor` names them")
    add("--patterns", type=lambda t: [Kind.of(w) for w in _words(t)], default="group16,group4,channel")
    add("--densities", type=lambda t: [float(w) for w in _words(t)], default=DENSITIES)
    add("--batches", type=lambda t: [int(w) for w in _words(t)], default="1")
    add("--threads", type=lambda t: [int(w) for w in _words(t)], default="1")
    add("--repeats", type=int, default=5, help="of each contender; the median counts")
    add("--only", default="", metavar="TEXT", help="layers whose label holds this, as in '3x3/2' or '@7x7'")
    add("--layers", action="store_true", help="a row for each layer, too")
    add("--compile", action="store_true", help="torch.compile as a rival (seconds to compile each layer)")
    add("--quick", action="store_true", help="a quarter of the layers, one density, fewer repeats")
    add("--json", action="store_true", help="one JSON document instead of tables")
    arguments = parser.parse_args(words)
    if unknown := [s for s in arguments.section if s not in SECTIONS]:
        parser.error(f"section {unknown[0]!r}; expected {', '.join(SECTIONS)}")
    if arguments.quick:
        arguments.densities, arguments.repeats = arguments.densities[1:2] or arguments.densities, 3
    return arguments


def main(words: Sequence[str] | None = None) -> int:
    arguments = _parsed(words)
    if not native.available():
        print(f"no sparse kernels: {native.why_not()}", file=sys.stderr)
        return 2
    began, load = time.perf_counter(), os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    peaks, how = {}, ""
    for threads in sorted({*arguments.threads}):
        peaks[threads], how = peak_gflops(threads)
    machine = {
        "cpu": cpu(),
        "kernels": native.isa(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "peak_gflops": peaks,
        "peak_by": how,
        "load_before": round(load, 2),
    }
    if not arguments.json:
        print(" ".join(f"{key}={value}" for key, value in machine.items()))
    report: Report = {"machine": machine}
    for name in arguments.section:
        report[name] = SECTIONS[name](arguments, peaks)
    seconds = time.perf_counter() - began
    if arguments.json:
        print(json.dumps({**report, "seconds": seconds}, indent=1))
    else:
        print(f"\n{seconds:.0f} s; load {load:.2f} before")
    return 0


if __name__ == "__main__":
    sys.exit(main())
