"""Section training: forward and both gradients of every covered convolution, sparse beside dense autograd."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from tqdm import tqdm

from speed.clock import Work, interleaved
from speed.contenders import Kind, check, connections, thinned
from speed.shapes import Shape, convolutions

DENSE = ("eager", "last")


def measure(
    networks: Sequence[str],
    *,
    kinds: Sequence[Kind],
    densities: Sequence[float],
    batch: int,
    threads: int,
    repeats: int,
    only: str,
    stride: int = 1,
) -> Iterator[dict[str, object]]:
    """A row for each distinct layer: ms of one step by contender."""
    for network in networks:
        shapes = [item for item in convolutions(network).items() if only in item[0].label and item[0].covered][::stride]
        bar = tqdm(shapes, desc=f"{network.rpartition(':')[2]} training, batch {batch}", file=sys.stderr, leave=False)
        for shape, count in bar:
            bar.set_postfix_str(shape.label)
            ms = interleaved(_contenders(shape, batch, kinds, densities), threads=threads, repeats=repeats)
            at = {"network": network, "batch": batch, "threads": threads, "layer": shape.label, "count": count}
            yield {**at, "kernel": "x".join(map(str, shape.kernel)), "macs": shape.macs, "ms": ms}


def _contenders(shape: Shape, batch: int, kinds: Sequence[Kind], densities: Sequence[float]) -> dict[str, Work]:
    torch.manual_seed(0)
    module = shape.module().requires_grad_(True)
    x = shape.input(batch)
    grad = torch.randn(batch, shape.out_channels, *shape.out_size)
    last = shape.module().requires_grad_(True).to(memory_format=torch.channels_last)
    found = {
        "eager": _step(module, x, grad),
        "last": _step(last, *(t.contiguous(memory_format=torch.channels_last) for t in (x, grad))),
    }
    for kind in kinds:
        for density in densities:
            layer = thinned(module, connections(shape.in_channels, shape.out_channels, kind, density))
            with torch.no_grad():
                check(layer, x, f"{shape.label} {kind.name} {density:g}")
            found[f"{kind.name} {density:g}"] = _step(layer, x, grad)
    return found


def _step(layer: nn.Module, x: torch.Tensor, grad: torch.Tensor) -> Work:
    """Forward, gradient to the input, gradient to the weight (and bias)."""
    x = x.detach().requires_grad_()
    wanted = [x, *layer.parameters()]

    def run() -> object:
        return torch.autograd.grad(layer(x), wanted, grad)

    return run


def sums(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """For each network and kernel: the sums over its layers, by pattern and density."""
    found: list[dict[str, object]] = []
    keys = dict.fromkeys((r["network"], r["kernel"], r["batch"], r["threads"]) for r in rows)
    for network, kernel, batch, threads in keys:
        held = [r for r in rows if (r["network"], r["kernel"]) == (network, kernel)]
        times = [(int(r["count"]), dict(r["ms"])) for r in held]  # type: ignore[call-overload]
        best = sum(count * min(ms[name] for name in DENSE) for count, ms in times)
        at = {"network": network, "batch": batch, "threads": threads, "kernel": kernel}
        eager = sum(count * ms["eager"] for count, ms in times)
        for name in times[0][1]:
            total = sum(count * ms[name] for count, ms in times)
            row = {**at, "how": name, "ms": total, "over_eager": eager / total, "over_best": best / total}
            slower = sum(ms[name] > min(ms[dense] for dense in DENSE) for _, ms in times)
            found.append({**row, **({} if name in DENSE else {"slower": slower, "layers": len(times)})})
    return found
