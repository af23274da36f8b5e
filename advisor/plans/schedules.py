"""How a density, or the share of moved connections, runs over the optimiser's steps. Plain numbers, no tensors."""

from __future__ import annotations

from bisect import bisect_right

from advisor.errors import PlanError

Schedule = tuple[tuple[int, float], ...]
_MOST_STEPS = 1_000_000_000


def incremental_schedule(start: float, every: int) -> Schedule:
    """Incremental training: the number of connections doubles until the layer is dense.

    From 1 % the densities are 1, 2, 4, 8, 16, 32, 64 and 100 %; from 0.1 % the layer is dense after ten doublings.
    Changpinyo et al. 2017, section 5.3, with start 0.01 or 0.001 and `every` 10,000, 25,000 or 50,000.

    Args:
        start: density of the first steps, in (0, 1].
        every: optimiser steps between doublings.

    Returns:
        (first optimiser step, density) of each level: the steps ascend from 0, the last density is 1.

    Raises:
        PlanError: a start outside (0, 1], or fewer than one step between doublings.
    """
    if not 0 < start <= 1:  # also refuses NaN
        raise PlanError(f"incremental schedule: start={start} is no density in (0, 1]; 0.01 is the published one")
    _check_steps("incremental schedule", "every", every)
    levels = [(0, float(start))]
    while levels[-1][1] < 1:
        levels.append((len(levels) * every, min(1.0, start * 2.0 ** len(levels))))
    return tuple(levels)


def density_at(schedule: Schedule, step: int) -> float:
    """The density, or whatever else the schedule holds, at an optimiser step; the first one's before it begins."""
    return schedule[max(0, bisect_right(schedule, step, key=lambda level: level[0]) - 1)][1]


def _check_steps(what: str, name: str, steps: int) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= _MOST_STEPS:
        raise PlanError(f"{what}: {name}={steps!r} is no number of optimiser steps; expected an integer of 1 or more")
