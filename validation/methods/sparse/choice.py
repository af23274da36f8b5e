"""Which units die, live and come next, within the quota sets of a pattern. NumPy alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from advisor.patterns.draw import Bools, Floats, rows_of, smallest

Ints = NDArray[np.int64]


def ranks(values: NDArray[np.generic], sets: Ints) -> Ints:
    """The rank of each value within its set, from 0 for the smallest; ties go to the lower index. O(n log n).

    Args:
        values: any shape.
        sets: the same shape, the number of each value's set.
    """
    flat = sets.ravel()
    order = np.lexsort((values.ravel(), flat))  # stable: ties stay in order
    starts = np.concatenate([[0], np.cumsum(np.bincount(flat))[:-1]]) if flat.size else np.zeros(0, np.int64)
    found = np.empty(flat.size, np.int64)
    found[order] = np.arange(flat.size) - starts[flat[order]]
    return found.reshape(sets.shape)


def weakest(scores: Floats, units: Bools, share: float) -> Bools:
    """The live units with the smallest scores in the whole layer: ⌊share · live⌋ of them.

    Not so many of each set: with a few connections per output, the share of one set is often none.
    """
    live = np.flatnonzero(units)
    count = int(share * live.size + 1e-9)
    found = np.zeros(units.shape, np.bool_)
    found.reshape(-1)[live] = smallest(scores.reshape(-1)[live], count)
    return found


def regrown(units: Bools, dropped: Bools, order: NDArray[np.generic], sets: Ints) -> Bools:
    """The live units once every set has got back as many as it lost.

    Args:
        units: that lived.
        dropped: of those, which go.
        order: the smallest come first, of everything that does not live then; finite, and below the type's largest
            number. A unit that was just dropped may come back, as in the published code of RigL.
        sets: the quota set of each unit.

    Returns:
        As many units of each set as before.
    """
    left = units & ~dropped
    lost = np.bincount(sets[dropped], minlength=int(sets.max(initial=0)) + 1)
    if len(lost) == 1 or (len(lost) == len(sets) and np.array_equal(sets, rows_of(sets.shape))):
        return left | _next_of_rows(left.reshape(len(lost), -1), order.reshape(len(lost), -1), lost).reshape(left.shape)
    free = np.flatnonzero(~left & (lost > 0)[sets])
    own, found = sets.reshape(-1)[free], left.copy()
    found.reshape(-1)[free] = ranks(order.reshape(-1)[free], own) < lost[own]
    return found


def _next_of_rows(left: Bools, order: NDArray[Any], lost: Ints) -> Bools:
    """The `lost` smallest of each row that are not `left`. Linear time: a layer has millions of weights."""
    last = np.inf if order.dtype.kind == "f" else np.iinfo(order.dtype).max
    found = np.zeros(left.shape, np.bool_)
    for count in np.unique(lost[lost > 0]).tolist():
        rows = np.flatnonzero(lost == count)
        found[rows] = smallest(np.where(left[rows], last, order[rows]), count)
    return found
