"""The documented generator behind every random mask, and the choice of the smallest keys."""

from __future__ import annotations

import hashlib
from math import prod

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
_LARGE = 1 << 24


def layer_seed(seed: int, name: str) -> int:
    """The seed of one layer from the plan's seed and the layer's dotted name: 32 bits of SHA-256."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:4], "big")


def keys(seed: int, shape: tuple[int, ...]) -> npt.NDArray[np.uint64]:
    """One 64-bit key per unit, in C order: the raw stream of NumPy's PCG64.

    NumPy's compatibility policy (NEP 19) fixes the streams of its bit generators and of their seeding, and not the
    distributions above them (`Generator.permutation` may change). So nothing above the raw stream is used.
    """
    raw: npt.NDArray[np.uint64] = np.random.PCG64(seed).random_raw(prod(shape))
    return raw.reshape(shape)


def rows_of(shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """The number of its row (first axis) for every unit."""
    return np.repeat(np.arange(shape[0]), prod(shape[1:])).reshape(shape)


def smallest(values: npt.NDArray[np.uint64] | Floats, quota: int) -> Bools:
    """True at the `quota` smallest values of each row (last axis); ties go to the lower index. Linear time."""
    size = values.shape[-1]
    if quota >= size:
        return np.ones(values.shape, dtype=np.bool_)
    if quota <= 0:
        return np.zeros(values.shape, dtype=np.bool_)
    if values.ndim > 1 and values.size > _LARGE and len(values) > 1:
        half = len(values) // 2  # the working copies of a 4096 x 25088 layer would take gigabytes
        return np.concatenate([smallest(values[:half], quota), smallest(values[half:], quota)])
    limit = np.partition(values, quota - 1, axis=-1)[..., quota - 1 : quota]
    kept: Bools = values < limit
    wanted = quota - kept.sum(axis=-1, keepdims=True)
    ties = values == limit
    if (ties.sum(axis=-1, keepdims=True) != wanted).any():
        ties &= np.cumsum(ties, axis=-1) <= wanted
    kept |= ties
    return kept
