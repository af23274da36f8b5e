"""The program solved on its core: the few options that the linear relaxation leaves in question.

An option whose reduced cost exceeds what is between a known choice and the bound is in no better choice. So only the
options within reach of the bound are given to the solver, and the reach grows until what it leaves out is proven to
be worse, or no better than the gap asked for (the core of multiple-choice knapsacks: Balas and Zemel 1980, Pisinger
1995). With width groups, thousands of pairs of levels become a few hundred.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from advisor.planning.solving.feasible import feasible, keeps
from advisor.planning.solving.program import Program
from advisor.planning.solving.relax import Relaxation, within
from advisor.planning.table import Choice

_FIRST_REACH = 2.0  # times the gap that was asked for
_SMALLEST_REACH = 2e-3  # of the bound
_GROWTH = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best choice so far, None where there is none, and a bound for all choices within the limits."""

    choice: Choice | None
    bound: float
    is_infeasible: bool = False


def solve_core(
    program: Program,
    limits: Mapping[str, float],
    relaxed: Relaxation,
    *,
    known: Choice | None,
    gap: float,
    deadline: float,
) -> Found:
    """Least loss within `limits`, to `gap` or until the deadline.

    Args:
        relaxed: the relaxation under the same limits.
        known: a choice to be better than.
        deadline: on `time.perf_counter`'s clock.
    """
    table = program.table
    best = known if known is not None and keeps(table, known, limits, program.max_patterns) else None
    value = table.objective(best) if best is not None else np.inf
    lower = relaxed.bound
    if _close(value, lower, gap):
        return Found(choice=best, bound=lower)
    reach = max(_FIRST_REACH * gap, _SMALLEST_REACH) * max(abs(lower), _scale(relaxed))
    while True:
        # Without a relaxation, or with no better choice left outside, there is nothing to grow.
        reach = min(reach, value - relaxed.bound)
        among = within(relaxed, reach) if relaxed.status == "solved" else np.ones(len(program.layer_of), np.bool_)
        outside = np.inf if among.all() else relaxed.bound + reach
        answer, bound = feasible(program, limits, gap, deadline, among=None if among.all() else among)
        if answer is not None and answer.choice is not None and (now := table.objective(answer.choice)) < value:
            best, value = answer.choice, now
        lower = max(lower, min(np.inf if answer is None else bound, outside))
        if answer is None and best is None and among.all():
            return Found(choice=None, bound=np.inf, is_infeasible=True)
        is_done = among.all() or outside >= value or _close(value, lower, gap)
        if is_done or time.perf_counter() >= deadline:
            return Found(choice=best, bound=min(lower, value))
        reach = value - relaxed.bound if best is not None else reach * _GROWTH


def _close(value: float, bound: float, gap: float) -> bool:
    return bool(np.isfinite(value)) and value - bound <= gap * abs(value)


def _scale(relaxed: Relaxation) -> float:
    """The size of a step between options, for bounds near 0."""
    positive = relaxed.reduced[relaxed.reduced > 0]
    return float(np.median(positive)) if positive.size else 1.0
