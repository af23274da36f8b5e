"""Boosted or averaged regression trees as plain arrays of integers: readable, exact, nothing executable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from advisor.devices.gpu.shapes import Array
from advisor.errors import ProfileError

_UNIT = 1e-5  # of a leaf's value
_MOST_NODES = 200_000


@dataclass(frozen=True, slots=True)
class Trees:
    """The sum of `start` and one leaf of each tree.

    Nodes stand in depth-first order, so that an inner node's left child follows it.

    Attributes:
        roots: (T,) index of each tree's first node.
        feature: (N,) which column an inner node asks for; -1 marks a leaf.
        number: (N,) inner nodes: go left where the column is at most this; leaves: the value in units of 1e-5.
        right: (N,) inner nodes: index of the right child; leaves: 0.
        start: what every sum begins with.
        columns: how many columns the matrix has.
    """

    roots: Array
    feature: Array
    number: Array
    right: Array
    start: float
    columns: int

    def __call__(self, matrix: Array) -> Array:
        """(R,) float64 for an integer matrix (R, F)."""
        total = np.full(len(matrix), self.start)
        for begin in range(0, len(matrix), 512):  # R x T indices at a time
            part = matrix[begin : begin + 512]
            at = np.tile(self.roots, (len(part), 1))
            rows = np.arange(len(part))[:, None]
            while True:
                asked = self.feature[at]
                inner = asked >= 0
                if not inner.any():
                    break
                left = part[rows, np.maximum(asked, 0)] <= self.number[at]
                at = np.where(inner, np.where(left, at + 1, self.right[at]), at)
            total[begin : begin + 512] += self.number[at].sum(axis=1) * _UNIT
        return total

    def to_document(self) -> dict[str, Any]:
        # Right children are written as distances: small numbers make a small file.
        jumps = np.where(self.feature >= 0, self.right - np.arange(len(self.right)), 0)
        return {
            "start": float(f"{self.start:.8g}"),
            "columns": self.columns,
            "roots": self.roots.tolist(),
            "feature": self.feature.tolist(),
            "number": self.number.tolist(),
            "right": jumps.tolist(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str = "trees") -> Trees:
        """Checks that every walk ends, then builds.

        Raises:
            ProfileError: arrays that are no trees.
        """
        try:
            arrays = {name: _integers(document[name]) for name in ("roots", "feature", "number", "right")}
            start, columns = float(document["start"]), int(document["columns"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ProfileError(f"{where}: {error}; expected arrays of whole numbers; make the profile anew") from error
        count = len(arrays["feature"])
        inner, index = arrays["feature"] >= 0, np.arange(count)
        right = np.where(inner, index + arrays["right"], 0)
        sound = (
            0 < count <= _MOST_NODES
            and len(arrays["number"]) == len(arrays["right"]) == count
            and np.isfinite(start)
            and bool(np.all((arrays["feature"] >= -1) & (arrays["feature"] < columns)))
            and bool(np.all((arrays["roots"] >= 0) & (arrays["roots"] < count)))
            # Both children lie further on, so no walk goes round in circles.
            and bool(np.all(right[inner] > index[inner] + 1) and np.all(right[inner] < count))
        )
        if not sound:
            raise ProfileError(f"{where}: these arrays are no trees; make the profile anew")
        return cls(arrays["roots"], arrays["feature"], arrays["number"], right, start, columns)


def from_estimators(estimators: Sequence[Any], *, scale: float, start: float, columns: int) -> Trees:
    """Trees of scikit-learn, fitted on whole numbers, as arrays.

    Args:
        estimators: fitted `DecisionTreeRegressor`s; their public `tree_` arrays are read.
        scale: each leaf's factor: the learning rate, or one over their number.
        start: the constant that the sum begins with.
        columns: of the matrix they were fitted on.
    """
    roots, feature, number, right = [], [], [], []
    base = 0
    for estimator in estimators:
        tree = estimator.tree_
        count = int(tree.node_count)
        leaf = tree.children_left < 0
        if not np.all(tree.children_left[~leaf] == np.arange(count)[~leaf] + 1):
            raise ValueError("trees grown best-first are not in depth-first order; limit max_depth, not max_leaf_nodes")
        roots.append(base)
        feature.append(np.where(leaf, -1, tree.feature))
        # On whole numbers "at most 7.5" is "at most 7".
        number.append(np.where(leaf, np.rint(tree.value[:, 0, 0] * scale / _UNIT), np.floor(tree.threshold)))
        right.append(np.where(leaf, 0, tree.children_right + base))
        base += count
    joined = [np.concatenate(part).astype(np.int64) for part in (feature, number, right)]
    return Trees(np.array(roots, dtype=np.int64), joined[0], joined[1], joined[2], float(f"{start:.8g}"), columns)


def _integers(values: Any) -> Array:
    if not isinstance(values, list) or any(type(v) is not int or abs(v) > 2**40 for v in values):
        raise ValueError("got something else than a list of whole numbers")
    return np.array(values, dtype=np.int64)
