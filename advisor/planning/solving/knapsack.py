"""One limit and nothing else that ties the layers: the multiple-choice knapsack, by dynamic programming with bounds.

States are what the first layers can cost and lose. One state goes where another costs no more and loses no more, and
where even the linear relaxation of the remaining layers, within what the state leaves of the limit, brings it to no
better choice than the one in hand (Dyer, Kayal and Walsh 1984; Pisinger 1995). Nothing is rounded. Layers of like
options, at which branch and bound tries permutation after permutation, are quick: their states are the same.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SLACK = 1e-12  # relative: sums of the same numbers in another order
_PARTS = (1 / 16, 1 / 4, 1.0)  # of what lies between bound and choice, searched one after the other


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """`choices` of a loss below the known one, the best first: (options of all layers, in table order), and a bound."""

    choices: tuple[Ints, ...]
    bound: float


def search(
    losses: Sequence[Floats],
    costs: Sequence[Floats],
    limit: float,
    *,
    lower: float,
    upper: float,
    gap: float,
    most_states: int,
    deadline: float,
) -> Searched:
    """The best choice within the limit among those that lose less than `upper`, by searching wider and wider.

    Args:
        losses, costs: per layer (K_l,).
        limit: on the sum of the costs.
        lower: a bound on the loss.
        upper: the loss of the best choice in hand, or of the worst one where there is none.
        gap: relative; ends the search when nothing better than `upper` is left beyond it.
        most_states: gives up where more are needed.
        deadline: on `time.perf_counter`'s clock.

    Returns:
        Choices may be over the limit by their sums' rounding error; the bound holds in any case. Without choices and
        with a bound of `upper`, nothing is better; with a smaller bound, the search gave up.
    """
    layers = _Layers.of(losses, costs, limit)
    bound = lower
    for part in _PARTS:
        below = lower + part * (upper - lower)
        found = _walk(layers, below, most_states, deadline)
        if found is None:
            break
        bound = below
        if found:
            objective = float(sum(column[k] for column, k in zip(losses, found[0], strict=True)))
            return Searched(choices=found, bound=min(objective, below))
        if upper - bound <= gap * abs(upper):
            break
    return Searched(choices=(), bound=bound)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layers:
    """Layers in the order of the walk, the most expensive choices first.

    Attributes:
        order: (L,) places of the layers in the table.
        limit: on the sum of the costs.
        step_layer, step_cost, step_loss: (S,) the steps of all layers' convex hulls, those first that save most loss
            per cost: whose it is (a place in the walk), what it costs, and by how much it changes the loss.
        start_cost, start_loss: (L,) of each layer's cheapest option.
    """

    order: Ints
    losses: tuple[Floats, ...]
    costs: tuple[Floats, ...]
    limit: float
    step_layer: Ints
    step_cost: Floats
    step_loss: Floats
    start_cost: Floats
    start_loss: Floats

    @classmethod
    def of(cls, losses: Sequence[Floats], costs: Sequence[Floats], limit: float) -> _Layers:
        order = np.argsort([-float(np.ptp(column)) for column in costs], kind="stable")
        hulls = [_hull(costs[layer], losses[layer]) for layer in order]
        step_cost = np.concatenate([np.diff(hull[0]) for hull in hulls])
        step_loss = np.concatenate([np.diff(hull[1]) for hull in hulls])
        step_layer = np.repeat(np.arange(len(hulls)), [len(hull[0]) - 1 for hull in hulls])
        best = np.argsort(step_loss / np.maximum(step_cost, 1e-300), kind="stable")
        return cls(
            order=order,
            losses=tuple(losses[layer] for layer in order),
            costs=tuple(costs[layer] for layer in order),
            limit=limit,
            step_layer=step_layer[best],
            step_cost=step_cost[best],
            step_loss=step_loss[best],
            start_cost=np.array([hull[0][0] for hull in hulls]),
            start_loss=np.array([hull[1][0] for hull in hulls]),
        )

    def rest(self, first: int, room: Floats) -> Floats:
        """The relaxed loss of the layers from `first` on within each `room`; infinite where they need more."""
        mine = self.step_layer >= first
        cost = np.concatenate([[self.start_cost[first:].sum()], self.step_cost[mine]]).cumsum()
        loss = np.concatenate([[self.start_loss[first:].sum()], self.step_loss[mine]]).cumsum()
        found: Floats = np.where(room < cost[0] - _SLACK * self.limit, np.inf, np.interp(room, cost, loss))
        return found


def _hull(cost: Floats, loss: Floats) -> tuple[Floats, Floats]:
    """The lower convex hull of a layer's options, from the cheapest on to the one that loses least."""
    points: list[tuple[float, float]] = []
    for x, y in sorted(zip(cost.tolist(), loss.tolist(), strict=True)):
        if points and y >= points[-1][1]:
            continue
        while len(points) > 1 and _is_above(points[-2], points[-1], (x, y)):
            points.pop()
        if points and x == points[-1][0]:
            points.pop()
        points.append((x, y))
    return np.array([x for x, _ in points]), np.array([y for _, y in points])


def _is_above(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether b lies on or above the line from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0])


def _walk(layers: _Layers, below: float, most_states: int, deadline: float) -> tuple[Ints, ...] | None:
    """All layers' states, one layer after the other; the complete ones that lose less than `below`, the best first.

    None where there are too many, or no time is left.
    """
    cost, loss = np.zeros(1), np.zeros(1)
    limit = layers.limit + _SLACK * abs(layers.limit)
    trail: list[tuple[Ints, Ints]] = []
    for place, (costs, losses) in enumerate(zip(layers.costs, layers.losses, strict=True)):
        if time.perf_counter() > deadline or len(cost) * len(costs) > 20 * most_states:
            return None
        total = (cost[:, None] + costs).ravel()
        lost = (loss[:, None] + losses).ravel()
        room = layers.limit - total
        left = np.flatnonzero((total <= limit) & (lost + layers.rest(place + 1, room) < below * (1 - _SLACK)))
        left = left[np.lexsort((lost[left], total[left]))]
        least = np.minimum.accumulate(lost[left])
        stay = np.ones(len(left), dtype=np.bool_)
        stay[1:] = lost[left][1:] < least[:-1]
        left = left[stay]
        if len(left) > most_states:
            return None
        if not left.size:
            return ()
        trail.append((left // len(costs), left % len(costs)))
        cost, loss = total[left], lost[left]
    ends = np.argsort(loss, kind="stable")
    return tuple(_back(layers.order, trail, int(end)) for end in ends[:10])


def _back(order: Ints, trail: list[tuple[Ints, Ints]], state: int) -> Ints:
    choice = np.zeros(len(order), dtype=np.int64)
    for layer, (before, option) in zip(order[::-1], reversed(trail), strict=True):
        choice[layer] = option[state]
        state = int(before[state])
    return choice
