"""From a choice that is over its limits, or leaves some of them unused, to a good one within."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.int64]  # (L,) per layer the place of its option

_PASSES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Options of every layer side by side, shorter layers filled up with options of infinite loss that cost nothing."""

    loss: Floats  # (L, K)
    costs: Floats  # (M, L, K)
    limits: Floats  # (M,)
    real: NDArray[np.bool_]  # (L, K)

    @classmethod
    def of(cls, loss: Floats, costs: Floats, limits: Floats, counts: NDArray[np.int64]) -> Grid:
        """From columns over all options (see `lagrangian.dual`)."""
        real = np.arange(counts.max()) < counts[:, None]
        losses = np.full(real.shape, np.inf)
        losses[real] = loss
        each = np.zeros((len(costs), *real.shape))
        each[:, real] = costs
        return cls(loss=losses, costs=each, limits=limits, real=real)

    def total(self, choice: Places) -> float:
        return float(self.loss[np.arange(len(choice)), choice].sum())

    def used(self, choice: Places) -> Floats:
        """(M,) the total of each cost."""
        used: Floats = self.costs[:, np.arange(len(choice)), choice].sum(axis=1)
        return used


def repaired(grid: Grid, choice: Places, prices: Floats) -> Places | None:
    """A choice within all limits near `choice`; None where this greedy search finds none.

    Args:
        prices: (M,) of the limits: what is scarce is spent where it is worth most.
    """
    choice = choice.copy()
    for _ in range(_PASSES):
        if np.all(grid.used(choice) <= grid.limits):
            return _filled(grid, choice, prices)
        if not _reduce(grid, choice):
            return None
    return None


def _reduce(grid: Grid, choice: Places) -> bool:
    """One pass of exchanges, one per layer at most, that bring what is over towards its limit at the least loss."""
    rows = np.arange(len(choice))
    used = grid.used(choice)
    over = np.maximum(used - grid.limits, 0.0)
    saved = grid.costs[:, rows, choice][:, :, None] - grid.costs  # (M, L, K)
    room = np.maximum(grid.limits - used, 0.0)
    fits = grid.real & np.all((-saved <= room[:, None, None]) | (over > 0)[:, None, None], axis=0)
    worth = np.where(over > 0, 1.0 / np.maximum(over, 1e-300), 0.0)
    gain = np.tensordot(worth, np.minimum(saved, over[:, None, None]), axes=1)
    added = np.maximum(np.where(grid.real, grid.loss, 0.0) - grid.loss[rows, choice][:, None], 0.0)
    unit = 1e-9 * float(added.max()) or 1.0
    rate = np.where(fits & (gain > 0), gain / (added + unit), 0.0)
    best = rate.argmax(axis=1)
    moved = False
    for layer in np.argsort(-rate[rows, best], kind="stable"):
        if rate[layer, best[layer]] <= 0 or np.all(used <= grid.limits):
            break
        change = -saved[:, layer, best[layer]]
        after = used + change
        # Never further over in sum, nor newly over anywhere.
        if np.any((after > grid.limits) & (used <= grid.limits)):
            continue
        if np.sum(worth * np.maximum(after - grid.limits, 0)) >= np.sum(worth * np.maximum(used - grid.limits, 0)):
            continue
        choice[layer], used, moved = best[layer], after, True
    return moved


def _filled(grid: Grid, choice: Places, prices: Floats) -> Places:
    """Spends what is left: exchanges that lose less and fit, those first that save most per price of what they take."""
    rows = np.arange(len(choice))
    for _ in range(_PASSES):
        room = grid.limits - grid.used(choice)
        more = grid.costs - grid.costs[:, rows, choice][:, :, None]
        saved = grid.loss[rows, choice][:, None] - grid.loss
        fits = (saved > 0) & np.all(more <= room[:, None, None], axis=0)
        if not fits.any():
            return choice
        unit = 1e-6 * float(np.max(saved[fits]))
        rate = np.where(fits, saved / (np.maximum(np.tensordot(prices, more, axes=1), 0.0) + unit), 0.0)
        best = rate.argmax(axis=1)
        for layer in np.argsort(-rate[rows, best], kind="stable"):
            if rate[layer, best[layer]] <= 0:
                break
            take = more[:, layer, best[layer]]
            if np.all(take <= room):
                choice[layer] = best[layer]
                room = room - take
    return choice
