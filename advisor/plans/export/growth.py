"""At which level of a ramp each weight of a plan comes to life."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from advisor.network import Layer
from advisor.patterns.base import kept_of, pattern
from advisor.patterns.draw import Bools, keys
from advisor.patterns.option import Option

Levels = NDArray[np.uint8]
NEVER = 255


def births(layer: Layer, option: Option, final: Bools, *, seed: int, densities: Sequence[float]) -> Levels:
    """The first level at which each weight is alive, in the stored shape; `NEVER` for what the final mask leaves out.

    At a density d each quota set of the pattern has max(1, ⌈d · units⌉) units, and no more than in the final mask;
    those of the final mask with the smallest keys of the layer's seed come first (`advisor.patterns.draw`). Hence each
    level contains the one before it.

    Args:
        layer: as width leaves it.
        option: what is masked in it.
        final: the units that stay at last, after the repair of dead channels; shape `unit_shape`.
        densities: of the levels, ascending, 254 at most.
    """
    kind = pattern(option.pattern)
    sets = kind.quota_sets(layer, option)
    place = _places(sets, final, keys(seed, final.shape))
    members = np.bincount(sets.ravel())
    last = np.bincount(sets[final], minlength=len(members))
    found: Levels = np.full(layer.weight_shape, NEVER, dtype=np.uint8)
    for level in reversed(range(len(densities))):  # an earlier level is written over a later one
        wanted = np.array([kept_of(densities[level], int(count)) for count in members], dtype=np.int64)
        alive: Bools = place < np.minimum(wanted, last)[sets]
        found[kind.mask(layer, option, connections=alive)] = level
    return found


def _places(sets: NDArray[np.int64], final: Bools, order: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Each unit's place in its set, from 0: those of the final mask first, by key, ties by position."""
    flat = sets.ravel()
    sequence = np.lexsort((order.ravel(), ~final.ravel(), flat))
    firsts = np.concatenate([[0], np.cumsum(np.bincount(flat))])
    found = np.empty(flat.size, dtype=np.int64)
    found[sequence] = np.arange(flat.size) - firsts[flat[sequence]]
    return found.reshape(sets.shape)
