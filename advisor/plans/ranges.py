"""Sets of channel numbers as half-open ranges, so that a plan can hold them in a line."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Ranges = tuple[tuple[int, int], ...]


def to_ranges(indices: Iterable[int]) -> Ranges:
    """Ascending numbers → (first, one past the last) of each run: [0, 1, 2, 7] → ((0, 3), (7, 8))."""
    found: list[tuple[int, int]] = []
    for index in indices:
        if found and found[-1][1] == index:
            found[-1] = (found[-1][0], int(index) + 1)
        else:
            found.append((int(index), int(index) + 1))
    return tuple(found)


def from_ranges(ranges: Ranges) -> NDArray[np.int64]:
    """The reverse of `to_ranges`."""
    if not ranges:
        return np.zeros(0, dtype=np.int64)
    return np.concatenate([np.arange(first, end, dtype=np.int64) for first, end in ranges])


def count(ranges: Ranges) -> int:
    """How many numbers the ranges hold; nothing is allocated."""
    return sum(end - first for first, end in ranges)


def problem(ranges: Ranges, size: int) -> str:
    """What makes these no ascending, separate, non-empty ranges within 0..size; empty where nothing does."""
    last = -1
    for first, end in ranges:
        if not (last < first < end <= size):
            return f"range {first}:{end} does not ascend within 0:{size}"
        last = end
    return ""
