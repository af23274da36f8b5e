"""A loss that rises with what is removed, through a few measured points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def rising(values: ArrayLike) -> Floats:
    """(N,) the closest non-decreasing sequence by least squares (pool adjacent violators; Ayer et al. 1955)."""
    blocks: list[tuple[float, int]] = []
    for value in np.asarray(values, np.float64):
        mean, count = float(value), 1
        while blocks and blocks[-1][0] > mean:
            above, many = blocks.pop()
            mean, count = (above * many + mean * count) / (many + count), many + count
        blocks.append((mean, count))
    return np.array([mean for mean, count in blocks for _ in range(count)], np.float64)


def loss_at(shares: ArrayLike, measured: Sequence[tuple[float, float]]) -> Floats:
    """(K,) losses at kept `shares` in (0, 1].

    Linear in −ln(share) between the points, the dense network's (1, 0) among them; no loss is negative or falls with
    the share, and none is extrapolated beyond the last point's slope.

    Args:
        shares: kept, (K,).
        measured: (kept share, loss) pairs, at least one.
    """
    points = sorted(measured, reverse=True)
    x = np.concatenate(([0.0], [-np.log(share) for share, _ in points]))
    y = rising(np.concatenate(([0.0], [max(loss, 0.0) for _, loss in points])))
    wanted = -np.log(np.asarray(shares, np.float64))
    found = np.interp(wanted, x, y)
    if len(x) > 1 and x[-1] > x[-2]:
        slope = (y[-1] - y[-2]) / (x[-1] - x[-2])
        found = np.where(wanted > x[-1], y[-1] + slope * (wanted - x[-1]), found)
    return np.maximum(found, 0.0)


def spread(shares: Sequence[float], count: int) -> tuple[float, ...]:
    """Up to `count` of the distinct shares, evenly spread in −ln(share), the smallest always among them."""
    distinct = sorted({float(share) for share in shares if share < 1})
    if len(distinct) <= count:
        return tuple(distinct)
    logs = np.log(distinct)
    wanted = np.linspace(logs[0], logs[-1], count)
    return tuple(sorted({distinct[int(np.argmin(np.abs(logs - one)))] for one in wanted}))
