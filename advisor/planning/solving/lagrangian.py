"""Lagrangian decomposition: with a price on each limit every layer chooses for itself.

    L(λ) = Σ_l min_k (loss[l, k] + λ·costs[l, k]) − λ·limits,   λ ≥ 0

is a bound on the loss for any λ (Everett 1963; Fisher 1981), and its maximum is that of the linear relaxation. It is
concave and piecewise linear; Kelley's cutting planes (1960) find the maximum, one pass over the table each.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from advisor.planning.solving.repair import Grid, repaired

Floats = NDArray[np.float64]
Places = NDArray[np.int64]  # (L,) per layer the place of its option among those that stayed

_CUTS = 400
_CLOSE = 1e-7  # relative, between the planes' maximum and the best bound found
_FURTHEST = 1e15
_REPAIRS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Dual:
    """The best bound, its multipliers, how far each option is above its layer's least, a choice within the limits."""

    bound: float
    multipliers: Floats  # (M,)
    reduced: Floats  # (X,)
    places: Places | None
    is_infeasible: bool = False


def dual(loss: Floats, costs: Floats, limits: Floats, counts: NDArray[np.int64], *, time_limit: float) -> Dual:
    """Maximises L, and repairs the choices met on the way until they keep every limit.

    Args:
        loss: (X,) over all options, layer after layer.
        costs: (M, X), at least 0, of like magnitude.
        limits: (M,).
        counts: (L,) options of each layer.
        time_limit: seconds; the best bound found by then is returned. Any is a true one.
    """
    grid = Grid.of(loss, costs, limits, counts)
    deadline = time.perf_counter() + time_limit
    most = float(np.where(np.isfinite(grid.loss), grid.loss, -np.inf).max(axis=1).sum())
    here = _Value.at(grid, np.zeros(len(limits)))
    best, cuts = here, [here]
    top = np.full(len(limits), max(most - here.bound, 1e-9) / max(float(np.abs(limits).max(initial=1.0)), 1.0))
    while len(limits) and not _settled(here) and len(cuts) < _CUTS and time.perf_counter() < deadline:
        upper, place = _master(cuts, top)
        is_old = np.array_equal(place, here.place)  # as far as the master's tolerance reaches
        if is_old or upper - best.bound <= _CLOSE * max(abs(best.bound), abs(most) * 1e-6, 1e-300):
            # The maximum within the box: look further out where the box holds it back.
            held = place >= top * (1 - 1e-9)
            if not held.any() or top.max() > _FURTHEST:
                break
            top = np.where(held, top * 8, top)
            continue
        here = _Value.at(grid, place)
        cuts.append(here)
        if here.bound > best.bound:
            best = here
        if best.bound > most + 1e-9 * abs(most):
            return Dual(
                bound=np.inf, multipliers=best.place, reduced=np.zeros(len(loss)), places=None, is_infeasible=True
            )
    left = grid.loss + np.tensordot(best.place, grid.costs, axes=1)
    reduced = (left - left.min(axis=1)[:, None])[grid.real]
    return Dual(bound=best.bound, multipliers=best.place, reduced=reduced, places=_choice(grid, best, cuts))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Value:
    """L at one place, its slope (what the choice there is over the limits), and that choice."""

    place: Floats
    bound: float
    slope: Floats
    choice: Places
    loss: float

    @classmethod
    def at(cls, grid: Grid, place: Floats) -> _Value:
        left = grid.loss + np.tensordot(place, grid.costs, axes=1)
        choice = left.argmin(axis=1)
        rows = np.arange(len(choice))
        slope = grid.costs[:, rows, choice].sum(axis=1) - grid.limits
        loss = float(grid.loss[rows, choice].sum())
        bound = float(left[rows, choice].sum()) - float(place @ grid.limits)
        return cls(place=place, bound=bound, slope=slope, choice=choice, loss=loss)


def _settled(value: _Value) -> bool:
    """Whether no limit is worth more or less than its price here: the choice is the best one."""
    return bool(np.all(value.slope <= 0) and np.all(value.slope * value.place == 0))


def _master(cuts: list[_Value], top: Floats) -> tuple[float, Floats]:
    """The highest point below all planes t ≤ loss + λ·slope in the box 0 ≤ λ ≤ top."""
    slopes = np.array([cut.slope for cut in cuts])
    scale = np.maximum(top, 1e-300)
    unit = max(float(np.abs(slopes * scale).max()), max(abs(cut.loss) for cut in cuts), 1e-300)
    result = linprog(
        np.append(np.zeros(len(top)), -1.0),
        A_ub=np.column_stack([-slopes * scale / unit, np.ones(len(cuts))]),
        b_ub=np.array([cut.loss for cut in cuts]) / unit,
        bounds=[*([(0.0, 1.0)] * len(top)), (None, None)],
        method="highs",
    )
    if result.status != 0:
        return -np.inf, np.zeros(len(top))
    return -float(result.fun) * unit, np.clip(result.x[:-1], 0.0, 1.0) * scale


def _choice(grid: Grid, best: _Value, seen: list[_Value]) -> Places | None:
    """The least losing of the choices that keep the limits, after repairing those met nearest to the best bound."""
    near = sorted(seen, key=lambda value: -value.bound)[:_REPAIRS]
    safe = min((v for v in seen if np.all(v.slope <= 0)), key=lambda value: value.loss, default=None)
    tried = [repaired(grid, value.choice, best.place) for value in (*near, *([safe] if safe else []))]
    found = [choice for choice in tried if choice is not None]
    return min(found, key=grid.total, default=None)
