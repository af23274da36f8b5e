"""Section layers: every convolution of a network, dense and sparse, and their sums."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import geometric_mean

import torch
from tqdm import tqdm

from speed.clock import Work, interleaved
from speed.contenders import Kind, check, connections, dense, thinned
from speed.shapes import Shape, convolutions


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One distinct convolution of a network, timed: ms of one call by contender ("group16 0.25", or a dense one)."""

    network: str
    batch: int
    threads: int
    shape: Shape
    count: int
    ms: dict[str, float]
    rivals: tuple[str, ...]  # the dense contenders

    @property
    def best(self) -> float:
        """The fastest dense one; what torch.compile makes is set beside it, not within."""
        return min(self.ms[name] for name in self.rivals if name != "compiled")


def measure(
    networks: Sequence[str],
    *,
    kinds: Sequence[Kind],
    densities: Sequence[float],
    batches: Sequence[int],
    threads: Sequence[int],
    repeats: int,
    compiled: bool,
    only: str,
    stride: int = 1,
) -> Iterator[Cell]:
    """Every distinct layer (`only`: those whose label holds it), one after another; all contenders interleaved."""
    for network in networks:
        shapes = [item for item in convolutions(network).items() if only in item[0].label][::stride]
        for batch in batches:
            bar = tqdm(shapes, desc=f"{network.rpartition(':')[2]} batch {batch}", file=sys.stderr, leave=False)
            for shape, count in bar:
                bar.set_postfix_str(shape.label)
                wanted = [(kind, density) for kind in kinds for density in densities] if shape.covered else []
                works, rivals = _contenders(shape, batch, wanted, compiled)
                for number in threads:
                    with torch.inference_mode():
                        ms = interleaved(works, threads=number, repeats=repeats)
                    yield Cell(
                        network=network, batch=batch, threads=number, shape=shape, count=count, ms=ms, rivals=rivals
                    )


@torch.inference_mode()
def _contenders(
    shape: Shape, batch: int, wanted: Sequence[tuple[Kind, float]], compiled: bool
) -> tuple[dict[str, Work], tuple[str, ...]]:
    torch.manual_seed(0)
    module, x = shape.module(), shape.input(batch)
    works = dense(module, x, compiled=compiled)
    rivals = tuple(works)
    for kind, density in wanted:
        layer = thinned(module, connections(shape.in_channels, shape.out_channels, kind, density))
        check(layer, x, f"{shape.label} {kind.name} {density:g}")
        works[f"{kind.name} {density:g}"] = _call(layer, x)
    return works, rivals


def _call(layer: torch.nn.Module, x: torch.Tensor) -> Work:
    return lambda: layer(x)


def sums(cells: Sequence[Cell], kinds: Sequence[Kind], densities: Sequence[float]) -> list[dict[str, object]]:
    """For each network, batch and threads: the sums over its layers, by pattern and density."""
    rows: list[dict[str, object]] = []
    keys = dict.fromkeys((c.network, c.batch, c.threads) for c in cells)
    for network, batch, threads in keys:
        chosen = [c for c in cells if (c.network, c.batch, c.threads) == (network, batch, threads)]
        covered = [c for c in chosen if c.shape.covered]
        others = [c for c in chosen if not c.shape.covered]
        if not covered:
            continue
        eager, best = (_sum(covered, name) for name in ("eager", "best"))
        rest = {name: _sum(others, name) for name in ("eager", "best")}
        at = {"network": network, "batch": batch, "threads": threads}
        flops = 2 * batch * sum(c.count * c.shape.macs for c in covered)
        for name in ("eager", *(("compiled",) if "compiled" in covered[0].rivals else ()), "best"):
            ms = _sum(covered, name)
            rows.append({**at, "pattern": f"dense, {name}", "density": 1.0, "ms": ms, "gflops": flops / ms / 1e6})
        for kind in kinds:
            for density in densities:
                name = f"{kind.name} {density:g}"
                ms = _sum(covered, name)
                kept = 2 * batch * sum(c.count * _macs(c.shape, density) for c in covered)
                row = {**at, "pattern": kind.name, "density": density, "ms": ms, "gflops": kept / ms / 1e6}
                row |= {"over_eager": eager / ms, "over_best": best / ms}
                if "compiled" in covered[0].rivals:
                    row["over_compiled"] = _sum(covered, "compiled") / ms
                row |= {
                    "layers_over_best": geometric_mean([c.best / c.ms[name] for c in covered]),
                    "whole_over_eager": (eager + rest["eager"]) / (ms + rest["best"]),
                    "whole_over_best": (best + rest["best"]) / (ms + rest["best"]),
                    "slower": sum(c.ms[name] > c.best for c in covered),
                    "layers": len(covered),
                }
                rows.append(row)
    return rows


def _macs(shape: Shape, density: float) -> float:
    kept = -(-density * shape.in_channels // 1)
    return shape.macs * kept / shape.in_channels


def _sum(cells: Sequence[Cell], name: str) -> float:
    return sum(c.count * (c.best if name == "best" else c.ms[name]) for c in cells)


def means(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Over the networks: geometric means of the sums' ratios."""
    ratios = ("over_eager", "over_best", "over_compiled", "whole_over_best")
    groups: dict[tuple[object, ...], list[dict[str, object]]] = {}
    for row in rows:
        if "over_best" in row:
            groups.setdefault(tuple(row[k] for k in ("batch", "threads", "pattern", "density")), []).append(row)
    return [
        {
            **dict(zip(("batch", "threads", "pattern", "density"), key, strict=True)),
            **{k: geometric_mean([float(r[k]) for r in held]) for k in ratios if all(k in r for r in held)},  # type: ignore[arg-type]
            "networks": len(held),
        }
        for key, held in groups.items()
    ]
