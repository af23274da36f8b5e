"""Tiles of the kernels: which are tried on a device, and the one that Triton's interpreter runs.

A tile is BM pixels by BN outputs, over BK gathered inputs at a time. BN follows from the block and is not tuned. The
winner is kept per kernel, layer geometry, layout and power of two of the pixels; Triton stores it on disk where its
version can (`cache_results`), under TRITON_CACHE_DIR.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton  # type: ignore[import-untyped]  # ships no types

from advisor.runtime.gpu import kernels

Tile = tuple[int, int, int, int]  # BM, BK, warps, stages

FORWARD: tuple[Tile, ...] = (
    (32, 32, 2, 3),
    (64, 32, 4, 3),
    (64, 64, 4, 3),
    (128, 16, 4, 4),
    (128, 32, 4, 3),
    (128, 64, 8, 2),
    (128, 32, 8, 3),
    (256, 32, 8, 3),
)
GRAD_INPUT: tuple[Tile, ...] = (
    (32, 32, 2, 2),
    (64, 16, 4, 3),
    (64, 32, 4, 3),
    (64, 64, 4, 2),
    (128, 32, 4, 2),
    (128, 64, 8, 2),
)
GRAD_WEIGHT: tuple[Tile, ...] = (
    (32, 16, 2, 4),
    (32, 32, 2, 4),
    (64, 32, 4, 3),
    (64, 64, 4, 3),
    (128, 32, 4, 2),
    (128, 64, 8, 2),
)
INTERPRETED: Tile = (64, 16, 4, 1)  # each operation of a program costs the interpreter a fixed time
_GEOMETRY = ["BLOCK", "KH", "KW", "SH", "SW", "DH", "DW"]
_BUCKETS = ["pixel_bucket", "row_bucket"]


def interpreted() -> bool:
    """Whether the kernels run in Triton's interpreter, on the CPU: TRITON_INTERPRET was set when they were loaded."""
    return not isinstance(kernels.forward, triton.JITFunction)


def configs(tiles: Sequence[Tile]) -> list[Any]:
    return [triton.Config({"BM": m, "BK": k}, num_warps=warps, num_stages=stages) for m, k, warps, stages in tiles]


def slice_of(kernel: str, block: int, *, exact: bool) -> int:
    """BN: outputs of a block that a program takes at once, a power of two from 16.

    The widest that leaves at most a third of its lanes idle, or else the one that leaves the fewest. `grad_input` sums
    over them and takes up to 32, or 16 without tensor cores (exact); the others hold a sum for each: up to 128, or 64.
    """
    widest = (16 if exact else 32) if kernel == "grad_input" else (64 if exact else 128)
    padded = {size: -(-block // size) * size for size in (128, 64, 32, 16) if size <= widest}
    return next(
        (size for size, lanes in padded.items() if 3 * lanes <= 4 * block), min(padded, key=lambda s: padded[s])
    )


def bucket(count: int) -> int:
    """Counts in one bucket share their tiles: the power of two at or above, up to 2**22."""
    return min(max(count - 1, 0).bit_length(), 22)


def fits(kernel: str, tile: Tile, bn: int, *, exact: bool, pixels: int = 1 << 22, rows: int = 1 << 22) -> bool:
    """Whether a tile is worth a try: most of it can be filled, and a thread can hold its part of the sums.

    exact: float32 without tensor cores, for which every multiply-add of a step is an instruction of its own. Compiled
    for sm_80, tiles beyond these limits spilled up to 9 KiB a thread and took up to a minute to compile.
    """
    m, k, warps, _ = tile
    sums = {"forward": m * bn, "grad_input": m * k, "grad_weight": k * bn}[kernel] // (32 * warps)
    fills = m <= max(pixels, 32) and k <= max(rows, 16)
    return fills and sums <= (32 if exact else 64) and (not exact or m * k * bn <= 1024 * 32 * warps)


def _fitting(kernel: str) -> Callable[..., list[Any]]:
    def prune(found: list[Any], named: dict[str, Any], **given: Any) -> list[Any]:
        exact = given["PRECISION"] == "ieee" and named["weight" if "weight" in named else "x"].dtype == torch.float32
        limits = {"exact": exact, "pixels": 1 << named["pixel_bucket"], "rows": 1 << named["row_bucket"]}
        tiles = [(c.kwargs["BM"], c.kwargs["BK"], c.num_warps, c.num_stages) for c in found]
        kept = [c for c, tile in zip(found, tiles, strict=True) if fits(kernel, tile, given["BN"], **limits)]
        if os.environ.get("ADVISOR_TRITON_TUNING") == "0":
            return [c for c in kept if c.kwargs["BM"] == 64][:1] or kept[:1] or found[:1]
        return kept or found[:1]

    return prune


def fixed(kernel: Any, tile: Tile) -> Any:
    """The kernel with one tile, untuned."""
    return triton.autotune(configs([tile]), key=[])(kernel)


def _tuned(kernel: Any, tiles: Sequence[Tile], flags: list[str]) -> Any:
    if interpreted():
        return fixed(kernel, INTERPRETED)
    stored = {"cache_results": True} if "cache_results" in inspect.signature(triton.autotune).parameters else {}
    decorate = triton.autotune(
        configs(tiles),
        key=[*_GEOMETRY, *_BUCKETS, *flags],
        prune_configs_by={"early_config_prune": _fitting(kernel.__name__)},
        # What the trial launches added is taken out again.
        reset_to_zero=["out"] if kernel is kernels.grad_input else None,
        **stored,
    )
    return decorate(kernel)


forward = _tuned(kernels.forward, FORWARD, ["X_LAST", "Y_LAST", "PRECISION"])
grad_input = _tuned(kernels.grad_input, GRAD_INPUT, ["G_LAST", "OUT_LAST", "BY_ROW", "PRECISION"])
grad_weight = _tuned(kernels.grad_weight, GRAD_WEIGHT, ["X_LAST", "G_LAST", "PRECISION"])
