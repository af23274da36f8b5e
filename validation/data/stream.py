"""Whole numbers that a seed fixes for good, whatever the version of NumPy or torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


class Stream:
    """The raw output of PCG64, which NumPy fixes by policy; the distributions above it may change."""

    def __init__(self, *seed: int) -> None:
        """Several numbers (a run's seed, an epoch) make one seed; different tuples give unrelated streams."""
        self._bits = np.random.PCG64(np.random.SeedSequence(seed))

    def below(self, limit: int, count: int) -> Integers:
        """`count` numbers in 0..limit-1, for limits far below 2^32."""
        high = (self._bits.random_raw(count) >> np.uint64(32)).astype(np.uint64)
        return ((high * np.uint64(limit)) >> np.uint64(32)).astype(np.int64)

    def order(self, count: int) -> Integers:
        """A permutation of 0..count-1."""
        return np.argsort(self._bits.random_raw(count), kind="stable").astype(np.int64)

    def picks(self, limit: int, count: int) -> Integers:
        """`count` of 0..limit-1, each as often as any other: whole permutations, one after the other."""
        rounds = -(-count // limit)
        return np.concatenate([self.order(limit) for _ in range(rounds)] or [np.zeros(0, np.int64)])[:count]
