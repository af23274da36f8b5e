"""Tiles of the kernels: which are tried on a device, and the one that Triton's interpreter runs.

A tile is BM pixels by BN outputs, over BK gathered inputs at a time. BN follows from the block and is not tuned. The
winner is kept per kernel, layer geometry, layout and power of two of the pixels; Triton stores it on disk where its
version can (`cache_results`), under TRITON_CACHE_DIR.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import triton  # type: ignore[import-untyped]  # ships no types

from advisor.runtime.gpu import kernels

Tile = tuple[int, int, int, int]  # BM, BK, warps, stages

FORWARD: tuple[Tile, ...] = (
    (32, 32, 2, 3),
    (64, 32, 4, 3),
    (64, 64, 4, 3),
    (128, 16, 4, 4),
    (128, 32, 4, 3),
    (128, 64, 4, 2),
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
    (128, 64, 4, 2),
)
SMALLEST: Tile = (16, 16, 4, 1)  # in the interpreter: small tensors still cross the borders of many tiles
_GEOMETRY = ["BLOCK", "KH", "KW", "SH", "SW", "DH", "DW"]
_BUCKETS = ["pixel_bucket", "row_bucket"]


def interpreted() -> bool:
    """Whether the kernels run in Triton's interpreter, on the CPU: TRITON_INTERPRET was set when they were loaded."""
    return not isinstance(kernels.forward, triton.JITFunction)


def configs(tiles: Sequence[Tile]) -> list[Any]:
    return [triton.Config({"BM": m, "BK": k}, num_warps=warps, num_stages=stages) for m, k, warps, stages in tiles]


def slice_of(block: int) -> int:
    """BN: outputs of a block that one program takes, a power of two from 16 to 128.

    The widest that leaves at most a third of its lanes idle, or else the one that leaves the fewest.
    """
    padded = {size: -(-block // size) * size for size in (128, 64, 32, 16)}
    return next(
        (size for size, lanes in padded.items() if 3 * lanes <= 4 * block), min(padded, key=lambda s: padded[s])
    )


def bucket(count: int) -> int:
    """Counts in one bucket share their tiles: the power of two at or above, up to 2**22."""
    return min(max(count - 1, 0).bit_length(), 22)


def _fitting(found: list[Any], named: dict[str, Any], **_: Any) -> list[Any]:
    """Without tiles of which more than half would always stand empty."""
    pixels, rows = 1 << named["pixel_bucket"], 1 << named["row_bucket"]
    fits = [c for c in found if c.kwargs["BM"] <= max(pixels, 32) and c.kwargs["BK"] <= max(rows, 16)]
    return fits or found[:1]


def _tuned(kernel: Any, tiles: Sequence[Tile], flags: list[str]) -> Any:
    if interpreted():
        return triton.autotune(configs([SMALLEST]), key=[])(kernel)
    stored = {"cache_results": True} if "cache_results" in inspect.signature(triton.autotune).parameters else {}
    decorate = triton.autotune(
        configs(tiles),
        key=[*_GEOMETRY, *_BUCKETS, *flags],
        prune_configs_by={"early_config_prune": _fitting},
        # What the trial launches added is taken out again.
        reset_to_zero=["out"] if kernel is kernels.grad_input else None,
        **stored,
    )
    return decorate(kernel)


forward = _tuned(kernels.forward, FORWARD, ["X_LAST", "Y_LAST", "PRECISION"])
grad_input = _tuned(kernels.grad_input, GRAD_INPUT, ["G_LAST", "OUT_LAST", "BY_ROW", "PRECISION"])
grad_weight = _tuned(kernels.grad_weight, GRAD_WEIGHT, ["X_LAST", "G_LAST", "PRECISION"])
