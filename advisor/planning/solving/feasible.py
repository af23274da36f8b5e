"""One run of the solver after another until its choice keeps every limit on the raw table."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from math import fsum

import numpy as np
from numpy.typing import NDArray

from advisor.planning.solving.program import Answer, Program
from advisor.planning.table import Choice, CostTable

_EXCLUSIONS = 30  # choices that slipped over a limit by the solver's tolerance, excluded one by one
_TIGHTENINGS = 30  # then the limits shrink


def feasible(
    program: Program,
    limits: Mapping[str, float],
    gap: float,
    deadline: float,
    *,
    levels: Sequence[Collection[int]] | None = None,
    among: NDArray[np.bool_] | None = None,
) -> tuple[Answer | None, float]:
    """An answer whose raw totals keep every limit, and the bound that holds for it; None where there is none.

    The bound of a program with exclusions holds, since only choices over a limit were excluded; that of a program
    with tightened limits does not, so the last one before the tightening stands.

    Args:
        deadline: on `time.perf_counter`'s clock.
        levels, among: as in `Program.solve`; answer and bound then are those of the smaller program.
    """
    table, tight, excluded, finer = program.table, dict(limits), list[Choice](), 1.0
    bound, tightened = least(table), 0  # a bound that always holds, whatever the solver gets to
    while True:
        left = deadline - time.perf_counter()
        answer = program.solve(
            tight, gap=gap, time_limit=left, excluded=excluded, finer=finer, levels=levels, among=among
        )
        if answer.status == "infeasible":
            return (None if not tightened else Answer(status="time limit", choice=None, bound=bound)), bound
        if not tightened:
            bound = max(bound, answer.bound)
        if answer.choice is None:
            return answer, bound
        over = {key: excess for key in limits if (excess := table.total(key, answer.choice) - limits[key]) > 0}
        if not over:
            objective = table.objective(answer.choice)
            loose = answer.status == "optimal" and objective - bound > gap * abs(objective) + 1e-12
            if loose and finer < 1e6 and not tightened and time.perf_counter() < deadline:
                finer *= 1e3  # stopped by the solver's absolute tolerance: show it larger numbers
                continue
            return answer, bound
        if len(excluded) < _EXCLUSIONS and answer.status == "optimal":
            excluded.append(answer.choice)
            continue
        if tightened >= _TIGHTENINGS:
            return Answer(status="time limit", choice=None, bound=bound), bound
        for key, excess in over.items():
            tight[key] -= 2.0 * excess
        tightened += 1
        if answer.status != "optimal":
            deadline = time.perf_counter() + 1.0  # the plan in hand is over by a hair: one more second to mend it


def keeps(table: CostTable, choice: Choice, limits: Mapping[str, float], max_patterns: int | None = None) -> bool:
    """Whether a choice is within all limits on the raw table, with no more patterns than allowed."""
    if any(table.total(key, choice) > limit for key, limit in limits.items()):
        return False
    return max_patterns is None or len(patterns_of(table, choice)) <= max_patterns


def patterns_of(table: CostTable, choice: Choice) -> set[str]:
    """The patterns that a choice uses, dense left out."""
    return {options[k].pattern for options, k in zip(table.options, choice, strict=True)} - {"dense"}


def least(table: CostTable) -> float:
    """The loss of every layer and group at its best, whatever it costs."""
    groups = (float(group.loss.min()) for group in table.groups if group.loss is not None)
    return fsum([*(float(column.min()) for column in table.loss), *groups])
