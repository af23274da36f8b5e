"""How a product is cut into tiles and how many rounds of tiles a GPU needs: the steps in its times."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

# Rows x columns of the output that one thread block computes, as in the kernels' names (…_128x64_…).
TILES = ((256, 128), (128, 128), (128, 64), (128, 32), (64, 64), (32, 128), (32, 32))
DEPTH_STEP = 8  # the inner dimension is read in slices of at least this many


def ceil_div(a: Array, b: Array | int) -> Array:
    """Elementwise a / b, rounded up; exact for whole numbers below 2^53."""
    return np.asarray(-(-a // b))


def tiles(rows: Array, columns: Array, tile: tuple[int, int]) -> Array:
    """(R,) how many tiles cover a product with `rows` x `columns` outputs."""
    return ceil_div(rows, tile[0]) * ceil_div(columns, tile[1])


def rounds(count: Array, sm_count: int) -> Array:
    """(R,) rounds of `count` tiles over `sm_count` multiprocessors: 81 tiles on 80 take two, like 160."""
    return ceil_div(count, sm_count)


def padded_macs(
    rows: Array, columns: Array, depth: Array, products: Array, *, tile: tuple[int, int], sm_count: int
) -> Array:
    """(R,) multiply-adds that `products` equal products cost once tiles, rounds and slices are filled up.

    Every multiprocessor is busy, or waits, for the time of one tile in each round.
    """
    # rounds · SMs · (tile · ⌈depth / 8⌉ · 8)
    count = tiles(rows, columns, tile) * products
    return np.asarray(rounds(count, sm_count) * sm_count * tile[0] * tile[1] * ceil_div(depth, DEPTH_STEP) * DEPTH_STEP)
