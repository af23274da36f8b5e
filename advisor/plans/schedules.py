"""How masks change over the optimiser's steps: the ramps of incremental and of dynamic training. No tensors here."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Literal, get_args

from advisor.errors import PlanError, unknown

Schedule = tuple[tuple[int, float], ...]
ScheduleMethod = Literal["incremental", "set", "rigl"]
METHODS: tuple[ScheduleMethod, ...] = get_args(ScheduleMethod)
_MOST_STEPS = 1_000_000_000
_MOST_UPDATES = 1_000_000


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


def dynamic_schedule(drop: float, every: int, end: int, *, anneal: bool) -> Schedule:
    """Dynamic training: which share of a layer's connections moves, and when.

    Every `every` steps `drop` of them; where it anneals, drop/2 · (1 + cos(π t / end)) at step t (Evci et al. 2020).

    Args:
        drop: share of the live connections, in (0, 1).
        every: optimiser steps between updates.
        end: step from which masks stay as they are; SET moves connections until training ends.
        anneal: as RigL does; SET (Mocanu et al. 2018) does not.

    Returns:
        (optimiser steps taken by then, share) of each update.

    Raises:
        PlanError: no share in (0, 1), no update before `end`, or more than a million of them.
    """
    if not 0 < drop < 1:
        raise PlanError(f"dynamic schedule: drop={drop} is no share in (0, 1); 0.3 is the published one")
    _check_steps("dynamic schedule", "every", every)
    _check_steps("dynamic schedule", "end", end)
    if not every < end <= every * _MOST_UPDATES:
        raise PlanError(
            f"dynamic schedule: updates every {every} steps until step {end} are none, or more than {_MOST_UPDATES:,}; "
            "choose end above every"
        )
    steps = range(every, end, every)
    return tuple((t, drop / 2 * (1 + math.cos(math.pi * t / end)) if anneal else float(drop)) for t in steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskSchedule:
    """How the masks of a plan change while it trains; `steps` says when and by how much.

    Attributes:
        method: "incremental" (the plan's connections come to life by and by), "set" or "rigl" (they move).
        every: optimiser steps between changes.
        start: incremental: density of the first steps.
        drop: set and rigl: share of the live connections that moves.
        end: set and rigl: step from which masks stay.
    """

    method: ScheduleMethod
    every: int
    start: float = 0.01
    drop: float = 0.3
    end: int | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise PlanError(unknown("schedule", self.method, METHODS))
        if self.method != "incremental" and self.end is None:
            raise PlanError(
                f"schedule {self.method}: it needs the step from which masks stay (--end); for set the number of steps "
                "of the training, for rigl three quarters of them"
            )
        if self.method == "incremental" and self.end is not None:
            raise PlanError(
                f"schedule incremental: end={self.end} has no say; it ends when the plan is whole, {self.every} steps "
                "after each doubling"
            )
        _ = self.steps

    @property
    def steps(self) -> Schedule:
        """(step, density) of incremental training, (step, share that moves) of dynamic training."""
        if self.end is None:
            return incremental_schedule(self.start, self.every)
        return dynamic_schedule(self.drop, self.every, self.end, anneal=self.method == "rigl")


def _check_steps(what: str, name: str, steps: int) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= _MOST_STEPS:
        raise PlanError(f"{what}: {name}={steps!r} is no number of optimiser steps; expected an integer of 1 or more")
