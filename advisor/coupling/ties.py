"""Union-find over growing arrays of nodes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Nodes = NDArray[np.int64]


class Ties:
    """Which nodes are one channel. The smallest node of a class stands for it."""

    def __init__(self) -> None:
        self._parent = np.arange(1024, dtype=np.int64)
        self.count = 0

    def new(self, count: int) -> Nodes:
        """`count` fresh nodes."""
        first, self.count = self.count, self.count + count
        if self.count > len(self._parent):
            grown = np.arange(max(2 * len(self._parent), self.count), dtype=np.int64)
            grown[: len(self._parent)] = self._parent
            self._parent = grown
        return np.arange(first, self.count, dtype=np.int64)

    def find(self, nodes: Nodes) -> Nodes:
        """The node that stands for the class of each of `nodes`."""
        roots = self._parent[nodes]
        while True:
            above = self._parent[roots]
            if bool((above == roots).all()):
                break
            roots = above
        self._parent[nodes] = roots
        return roots

    def union(self, left: Nodes, right: Nodes) -> None:
        """Makes `left[i]` and `right[i]` one class; the two broadcast."""
        left, right = np.broadcast_arrays(left, right)
        left, right = left.ravel(), right.ravel()
        while True:
            first, second = self.find(left), self.find(right)
            apart = first != second
            if not apart.any():
                return
            low = np.minimum(first, second)[apart]
            high = np.maximum(first, second)[apart]
            # Several pairs may want one parent: the lowest wins now, the others are met again in the next round.
            np.minimum.at(self._parent, high, low)
            left, right = left[apart], right[apart]
