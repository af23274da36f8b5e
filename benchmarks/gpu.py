"""Layers on a GPU: dense in four ways beside groups by Triton, by gathering and grouped products, and 2:4.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --types fp16 --densities 0.25 --blocks 16,64,128 --batch 64 --training
    python benchmarks/gpu.py --device cpu --batch 1 --rounds 3 --layers 1      (tries the script with the CPU's kernels)

Medians of interleaved rounds after a warm-up, by CUDA events. Each layer runs from a CUDA graph, so that the time is
the device's and not Python's (`--eager` leaves the launches in; what no graph takes is marked *). `gain` is over the
fastest dense way, which is one of: contiguous, channels-last, both under torch.compile.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor, nn

from advisor.devices.measuring.clocks import clock_for
from advisor.runtime import gpu
from advisor.runtime.gpu.semi import semi_structured, why_not_semi
from advisor.runtime.sparse import sparse

TYPES = {"fp32": (torch.float32, False), "tf32": (torch.float32, True), "fp16": (torch.float16, True)}
Work = Callable[[], object]


@dataclass(frozen=True)
class Shape:
    """A layer of a network: convolutions name their map, linear layers have none."""

    name: str
    inputs: int
    outputs: int
    kernel: int = 1
    size: int = 0
    stride: int = 1

    def build(self) -> nn.Module:
        if not self.size:
            return nn.Linear(self.inputs, self.outputs)
        return nn.Conv2d(self.inputs, self.outputs, self.kernel, self.stride, self.kernel // 2)

    def example(self, batch: int) -> Tensor:
        """Images, or 196 tokens an image."""
        return (
            torch.randn(batch, self.inputs, self.size, self.size) if self.size else torch.randn(batch, 196, self.inputs)
        )


LAYERS = (
    Shape("64>64 3x3 @56", 64, 64, 3, 56),
    Shape("128>128 3x3 @28", 128, 128, 3, 28),
    Shape("256>256 3x3 @14", 256, 256, 3, 14),
    Shape("512>512 3x3 @7", 512, 512, 3, 7),
    Shape("256>256 3x3/2 @28", 256, 256, 3, 28, 2),
    Shape("256>64 1x1 @56", 256, 64, 1, 56),
    Shape("64>256 1x1 @56", 64, 256, 1, 56),
    Shape("1024>256 1x1 @14", 1024, 256, 1, 14),
    Shape("512>2048 1x1 @7", 512, 2048, 1, 7),
    Shape("linear 768>3072", 768, 3072),
    Shape("linear 3072>768", 3072, 768),
)


def lists(inputs: int, blocks: int, density: float) -> tuple[Tensor, Tensor]:
    """Equal lists drawn at random."""
    kept = max(1, round(density * inputs))
    chosen = torch.rand(blocks, inputs).argsort(1)[:, :kept].sort(1).values
    return torch.arange(blocks + 1) * kept, chosen.reshape(-1)


def halved(module: nn.Module) -> nn.Module:
    """The two largest of each 4 neighbouring inputs."""
    weight = module.get_parameter("weight")
    groups = weight.data.reshape(weight.shape[0], -1, 4)
    groups.scatter_(2, groups.abs().argsort(2)[:, :, :2], 0)
    weight.data = groups.view(weight.shape)
    return module


def work_of(module: Any, x: Tensor, training: bool) -> Work:
    """One call, or one call with both gradients."""
    if not training:
        return lambda: module(x)
    with torch.no_grad():
        grad = torch.randn_like(module(x))
    parameters = [p for p in module.parameters() if p.requires_grad]
    return lambda: torch.autograd.grad(module(x), [x, *parameters], grad)


def captured(work: Work) -> tuple[Work, str]:
    """The work as a CUDA graph, or as it is and a mark where it cannot be one."""
    try:
        graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                work()
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(graph):
            work()
    except RuntimeError as error:
        print(f"no graph: {' '.join(str(error).split())[:150]}", file=sys.stderr)
        return work, "*"
    return graph.replay, ""


def times(works: dict[str, Work], arguments: argparse.Namespace) -> dict[str, tuple[float, str]]:
    """Median milliseconds of each, in interleaved rounds, and its mark."""
    clock, cuda = clock_for(arguments.device), arguments.device.startswith("cuda")
    ready: dict[str, tuple[Work, str]] = {}
    for name, work in works.items():
        for _ in range(3):
            work()  # compiles, and tries the tiles
        ready[name] = captured(work) if cuda and not arguments.eager else (work, "")
    repeats = {}
    for name, (work, _) in ready.items():
        repeats[name] = max(1, min(200, round(2.0 / max(min(clock(work) for _ in range(3)), 1e-3))))
    found: dict[str, list[float]] = {name: [] for name in ready}
    for _ in range(arguments.rounds):
        for name, (work, _) in ready.items():
            many = repeats[name]
            found[name].append(clock(lambda work=work, many=many: [work() for _ in range(many)]) / many)  # type: ignore[misc]
    return {name: (statistics.median(each), ready[name][1]) for name, each in found.items()}


def works_of(shape: Shape, kind: str, arguments: argparse.Namespace) -> Iterator[tuple[str, Work]]:
    """Every way to run the layer: "dense ...", "triton DENSITY BLOCK", "gather DENSITY BLOCK", "2:4"."""
    dtype, training = TYPES[kind][0], arguments.training
    to: dict[str, Any] = {"device": arguments.device, "dtype": dtype}
    dense, x = shape.build().to(**to), shape.example(arguments.batch).to(**to).requires_grad_(training)
    yield "dense", work_of(dense, x, training)
    last = x
    if shape.size:
        last = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_(training)
        yield "dense last", work_of(shape.build().to(**to, memory_format=torch.channels_last), last, training)
    if not arguments.no_compile:
        torch.compiler.reset()
        yield "dense compiled", work_of(torch.compile(dense), x, training)
        if shape.size:
            module = torch.compile(shape.build().to(**to, memory_format=torch.channels_last))
            yield "dense last compiled", work_of(module, last, training)
    for density in map(float, arguments.densities.split(",")):
        for block in map(int, arguments.blocks.split(",")):
            if shape.outputs % block:
                continue
            chosen = lists(shape.inputs, shape.outputs // block, density)
            direct = sparse(shape.build(), *chosen, block, method="direct").to(**to)
            if direct.runs_by(x) != "direct":
                print(f"{shape.name} {kind}: no kernel of this device takes blocks of {block}", file=sys.stderr)
                continue
            yield f"direct {density:g} {block}", work_of(direct, x, training)
            if shape.size:
                yield f"direct-last {density:g} {block}", work_of(direct, last, training)
            if block >= 16:
                other = sparse(shape.build(), *chosen, block, method="gather").to(**to)
                yield f"gather {density:g} {block}", work_of(other, x, training)
    if shape.kernel == 1 and not training:
        semi = halved(shape.build().to(**to))
        if reason := why_not_semi(semi):
            print(f"{shape.name} {kind}: no 2:4: {reason}", file=sys.stderr)
        else:
            yield "2:4", work_of(semi_structured(semi), last, training)


def rows_of(shape: Shape, kind: str, arguments: argparse.Namespace) -> list[list[str]]:
    """A line per density and block; dense and 2:4 stand in the first."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = TYPES[kind][1]
    with torch.set_grad_enabled(arguments.training):
        found = times(dict(works_of(shape, kind, arguments)), arguments)
    best = min(ms for name, (ms, _) in found.items() if name.startswith("dense"))

    def told(name: str) -> list[str]:
        ms, mark = found.get(name, (0.0, ""))
        return [f"{ms:.4f}{mark}", f"{best / ms:.2f}"] if ms else ["", ""]

    dense = [told(f"dense{way}")[0] for way in ("", " last", " compiled", " last compiled")]
    rows = []
    for name in [name for name in found if name.startswith("direct ")]:
        density, block = name.split()[1:]
        ways = [value for way in ("direct", "direct-last", "gather") for value in told(f"{way} {density} {block}")]
        rows.append([shape.name, kind, *dense, density, block, *ways, *told("2:4")])
        dense, found = [""] * 4, {k: v for k, v in found.items() if k != "2:4"}
    return rows


HEADERS = ["layer", "type", "dense", "c-last", "compiled", "c-l compiled", "density", "block"]
HEADERS += [text for way in ("direct", "direct c-last", "gather", "2:4") for text in (f"{way} ms", "gain")]


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--types", default="fp32,tf32,fp16")
    parser.add_argument("--densities", default="0.5,0.25,0.125")
    parser.add_argument("--blocks", default="16,32,64")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--layers", type=int, default=len(LAYERS), help="how many of the layers, from the first")
    parser.add_argument("--training", action="store_true", help="forward and both gradients")
    parser.add_argument("--eager", action="store_true", help="launches included, no CUDA graphs")
    parser.add_argument("--no-compile", action="store_true", help="leaves torch.compile out")
    arguments = parser.parse_args(words)
    if arguments.device.startswith("cuda") and not gpu.available():
        print(f"no GPU here: {gpu.why_not()}")
        return 0
    torch.manual_seed(0)
    rows: list[list[str]] = []
    for kind in arguments.types.split(","):
        for shape in LAYERS[: arguments.layers]:
            rows += rows_of(shape, kind, arguments)
            print(f"{kind} {shape.name}: done", file=sys.stderr)
    print(tabulate(rows, headers=HEADERS, disable_numparse=True, colalign=("left", "left", *["right"] * 14)))
    name = torch.cuda.get_device_name() if arguments.device.startswith("cuda") else "the CPU, one call at a time"
    what = "forward and both gradients" if arguments.training else "forward"
    print(f"{name}; torch {torch.__version__}; batch {arguments.batch}; {what}; ms a call; gain over the best dense")
    return 0


if __name__ == "__main__":
    sys.exit(main())
