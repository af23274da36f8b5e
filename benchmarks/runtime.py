"""Sparse layers beside dense ones, timed in one run: the tables of benchmarks/README.md.

    python benchmarks/runtime.py --quick                                     # a look, some minutes
    python benchmarks/runtime.py --section layers --batches 1,8 --threads 1,2
    python benchmarks/runtime.py --section layers --networks torchvision:resnet50 --layers --only 3x3/2
    python benchmarks/runtime.py --section network|training|linear|tiles

A ratio is dense time over sparse time, both medians of the same interleaved run: what the machine did meanwhile fell
on both. "Best dense" is, layer by layer, the fastest of eager, channels-last, and both with the weights packed by
oneDNN beforehand; --compile sets torch.compile beside it. One thread is timed by its own clock, more by the wall's: run
that on a quiet machine. Outputs are checked against the masked dense layer first; no time is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from speed import layers, linears, networks, tables, tiles, training
from speed.clock import peak_gflops
from speed.contenders import Kind
from tabulate import tabulate

from advisor.runtime import native
from advisor.runtime.native.tuner import cpu

Report = dict[str, object]


def _asked(arguments: argparse.Namespace) -> dict[str, Any]:
    """What every section that compares over batches and threads takes from the command line."""
    given = {name: getattr(arguments, name) for name in ("densities", "batches", "threads", "repeats")}
    return {"kinds": arguments.patterns, **given}


def section_layers(arguments: argparse.Namespace, peaks: dict[int, float]) -> Report:
    """Sums over the convolutions of whole networks."""
    measured = layers.measure(
        arguments.networks,
        **_asked(arguments),
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


def section_network(arguments: argparse.Namespace, peaks: dict[int, float]) -> Report:
    """Whole networks applied for inference, against eager, folded, channels-last and compiled."""
    measured = networks.measure(
        arguments.networks,
        **_asked(arguments),
        compiled=arguments.compile,
    )
    rows = tables.with_share(list(measured), peaks)
    _show(
        arguments, "whole networks, ends dense; weights: bytes of the sparse layers' weights and lists over dense", rows
    )
    return {"rows": rows}


def section_training(arguments: argparse.Namespace, peaks: dict[int, float]) -> Report:
    """Forward and both gradients of the networks' layers."""
    found: list[dict[str, object]] = []
    for batch in arguments.batches:
        for threads in arguments.threads:
            measured = training.measure(
                arguments.networks,
                kinds=arguments.patterns,
                densities=arguments.densities,
                batch=batch,
                threads=threads,
                repeats=arguments.repeats,
                only=arguments.only,
                stride=4 if arguments.quick else 1,
            )
            found += measured
    rows = tables.with_share(training.sums(found), peaks)
    if arguments.layers:
        flat = [{**r, "how": how, "ms": ms} for r in found for how, ms in dict(r["ms"]).items()]  # type: ignore[call-overload]
        _show(arguments, "training step by layer", flat)
    _show(arguments, "training step, sums over layers; best: of eager and channels-last", rows)
    return {"sums": rows, "layers": found}


def section_linear(arguments: argparse.Namespace, peaks: dict[int, float]) -> Report:
    """Linear layers of the networks."""
    measured = linears.measure(
        arguments.networks,
        **_asked(arguments),
        only=arguments.only,
    )
    rows = tables.with_share(list(measured), peaks)
    _show(arguments, "linear layers, and how many vectors they take at a time", rows)
    return {"rows": rows}


def section_tiles(arguments: argparse.Namespace, peaks: dict[int, float]) -> Report:
    """What limits a sparse layer: the inner loops, what each tile pays once, and packing."""
    torch.set_num_threads(1)
    loops, packed, orders = list(tiles.tiles(peaks[1])), list(tiles.packing()), list(tiles.orders())
    if not arguments.json:
        print("\nregister tiles in the first cache; unit: one vector multiply-add at the peak\n")
        print(tabulate(loops, headers="keys", tablefmt="pipe"))
        print("\npacking and writing beside the whole layer, blocks of 16\n")
        print(tabulate(packed, headers="keys", tablefmt="pipe"))
        print("\nchannels-last inputs and outputs, blocks of 16, d = 0.25\n")
        print(tabulate(orders, headers="keys", tablefmt="pipe"))
    return {"tiles": loops, "packing": packed, "orders": orders}


def _show(arguments: argparse.Namespace, title: str, rows: Sequence[dict[str, object]]) -> None:
    if not arguments.json:
        print(f"\n{title}\n\n{tables.table(rows) if rows else 'nothing to time'}")


@dataclass(frozen=True, slots=True)
class Section:
    """Its code, and what it times where the command does not say."""

    run: Callable[[argparse.Namespace, dict[int, float]], Report]
    networks: str
    patterns: str = "group16,group4,channel"
    densities: str = "0.5,0.25,0.125,0.0625"
    batches: str = "1"


FOUR = "torchvision:resnet50,torchvision:vgg16,torchvision:inception_v3,torchvision:mobilenet_v2"
ENDS = "torchvision:resnet50,torchvision:vgg16#features,torchvision:inception_v3"
SECTIONS = {
    "layers": Section(section_layers, FOUR),
    "network": Section(section_network, ENDS, densities="0.25", patterns="group16,channel"),
    "training": Section(
        section_training,
        "torchvision:resnet50,torchvision:vgg16",
        patterns="group4,group8,group16,channel",
        densities="0.25",
        batches="8",
    ),
    "linear": Section(section_linear, "torchvision:vit_b_16,torchvision:vgg16", patterns="group16,channel"),
    "tiles": Section(section_tiles, ""),
}


@contextmanager
def _own_cache(wanted: bool) -> Iterator[None]:
    """What the kernels' tuner finds goes to a file of this run, where `wanted`."""
    if not wanted:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ADVISOR_TUNING_CACHE"] = f"{folder}/tuning.jsonl"
        yield
    del os.environ["ADVISOR_TUNING_CACHE"]


LISTS: dict[str, Callable[[str], object]] = {
    "networks": str,
    "patterns": Kind.of,
    "densities": float,
    "batches": int,
    "threads": int,
}


def _parsed(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--section", choices=tuple(SECTIONS), default="layers")
    add("--networks", help="by commas, as `advisor` names them; each section has its own")
    add("--patterns", help="channel, and group with its outputs per block: group16,group4,channel")
    add("--densities", help="as in 0.5,0.25")
    add("--batches", help="as in 1,8")
    add("--threads", default="1", help="as in 1,2")
    add("--repeats", type=int, default=5, help="of each contender; the median counts")
    add("--only", default="", metavar="TEXT", help="layers whose label holds this, as in '3x3/2' or '@7x7'")
    add("--layers", action="store_true", help="a row for each layer, too")
    add("--compile", action="store_true", help="torch.compile as a rival (seconds to compile each layer)")
    add("--quick", action="store_true", help="a quarter of the layers, one density, fewer repeats")
    add("--tune-anew", action="store_true", help="measure every tiling in this run, whatever the cache holds")
    add("--json", action="store_true", help="one JSON document instead of tables")
    arguments = parser.parse_args(words)
    section = SECTIONS[arguments.section]
    for name, kind in LISTS.items():
        text = getattr(arguments, name)
        try:
            values = [kind(word) for word in (getattr(section, name) if text is None else text).split(",") if word]
        except ValueError as error:
            parser.error(f"--{name} {text}: {error}")
        setattr(arguments, name, values)
    if arguments.quick:
        middle = len(arguments.densities) // 3
        arguments.densities, arguments.repeats = arguments.densities[middle : middle + 1], 3
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
    with _own_cache(arguments.tune_anew):
        report = {"machine": machine, arguments.section: SECTIONS[arguments.section].run(arguments, peaks)}
    seconds = time.perf_counter() - began
    if arguments.json:
        print(json.dumps({**report, "seconds": seconds}, indent=1))
    else:
        print(f"\n{seconds:.0f} s; load {load:.2f} before")
    return 0


if __name__ == "__main__":
    sys.exit(main())
