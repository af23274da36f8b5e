"""What makes a layer faster on this GPU: every way that has a kernel, beside the dense layer in the same form.

    python benchmarks/gpu_ways.py --dtype fp16 --channels-last
    python benchmarks/gpu_ways.py --dtype tf32 --densities 0.5 --batch 32

Layers of ResNet-50 and of a ViT. Each way runs from a CUDA graph that repeats it, so that launching does not count;
medians, in turn with the dense layer. `gain` is dense over it; "grouped" and 2:4 keep what share they can.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import torch
from tabulate import tabulate

from advisor.devices.cuda.candidates import Candidate, gpu_candidates
from advisor.devices.cuda.facts import facts_of
from advisor.devices.cuda.forms import NUMBERS, checked_number, converted, number_format
from advisor.devices.cuda.graphs import capture
from advisor.devices.measuring.timing import clock_for, time_interleaved
from advisor.errors import AdvisorError
from advisor.runtime.execution import Execution

_CALLS = 10  # of a layer in one graph
_CONVS = ((64, 64, 3, 56), (128, 128, 3, 28), (256, 256, 3, 14), (512, 512, 3, 7), (256, 64, 1, 56), (512, 2048, 1, 7))
_LINEARS = ((768, 3072), (3072, 768), (768, 768), (4096, 4096))


def layers(batch: int) -> list[tuple[str, Execution]]:
    """Name and dense execution."""
    found = []
    for inputs, outputs, kernel, side in _CONVS:
        execution = Execution(
            kind="conv2d",
            method="dense",
            input_shape=(batch, inputs, side, side),
            weight_shape=(outputs, inputs, kernel, kernel),
            stride=(1, 1),
            padding=(kernel // 2, kernel // 2),
            dilation=(1, 1),
            bias=True,
        )
        found.append((f"{inputs}>{outputs} {kernel}x{kernel} @{side}", execution))
    for inputs, outputs in _LINEARS:
        shape = (batch * 196, inputs)
        execution = Execution(
            kind="linear", method="dense", input_shape=shape, weight_shape=(outputs, inputs), bias=True
        )
        found.append((f"linear {inputs}>{outputs}", execution))
    return found


def repeated(call: Callable[[], object]) -> Callable[[], None]:
    """Many calls in one graph."""

    def many() -> None:
        for _ in range(_CALLS):
            call()

    many()  # compiles, and tries tiles
    return capture(many)


def dense_call(execution: Execution, arguments: argparse.Namespace) -> Callable[[], object]:
    module, x = execution.build()
    made, (given,) = converted(
        module.cuda().eval(), (x.cuda(),), checked_number(arguments.dtype), channels_last=arguments.channels_last
    )

    def call() -> object:
        with torch.inference_mode():
            return made(given)

    return call


def row(name: str, execution: Execution, density: float, block: int, arguments: argparse.Namespace) -> list[str]:
    """One line of the table."""
    found: tuple[Candidate, ...] = gpu_candidates(
        execution,
        facts_of("cuda"),
        density=density,
        number=checked_number(arguments.dtype),
        channels_last=arguments.channels_last,
        block=block,
    )
    works, reasons = {"dense": repeated(dense_call(execution, arguments))}, {}
    for way in found:
        if way.call is None:
            reasons[way.way] = way.problem
            continue
        try:
            works[way.way] = repeated(way.call)
        except AdvisorError as error:
            reasons[way.way] = str(error)
    taken = time_interleaved(works, clock=clock_for("cuda"), min_repeats=8, max_seconds=0.4, spread=0.02)
    dense = taken["dense"].median_ms / _CALLS
    cells = [name, f"{density:g}", str(block), f"{1e3 * dense:.1f}"]
    for way in ("narrower", "grouped", "gather", "triton", "2:4", "bsr"):
        if way in taken:
            cells.append(f"{taken['dense'].median_ms / taken[way].median_ms:.2f}")
        else:
            cells.append("-")
            print(f"{name} {way}: {reasons.get(way, '')[:110]}", file=sys.stderr)
    return cells


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=NUMBERS, default="fp16")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--densities", default="0.5,0.25")
    parser.add_argument("--block", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    arguments = parser.parse_args(words)
    if not torch.cuda.is_available():
        print("no GPU here", file=sys.stderr)
        return 0
    with number_format(checked_number(arguments.dtype)):
        rows = [
            row(name, execution, float(density), arguments.block, arguments)
            for density in arguments.densities.split(",")
            for name, execution in layers(arguments.batch)
        ]
    heads = ["layer", "density", "block", "dense us", "narrower", "grouped", "gather", "triton", "2:4", "bsr"]
    print(tabulate(rows, heads, disable_numparse=True))
    axes = "channels last" if arguments.channels_last else "channels first"
    name = torch.cuda.get_device_name()
    print(f"gain over dense; {name}, torch {torch.__version__}, {arguments.dtype}, {axes}, batch {arguments.batch}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
