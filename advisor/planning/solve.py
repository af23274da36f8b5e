"""The exact choice of one option per layer: a mixed integer program, solved by HiGHS, checked on the raw table."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Literal

from advisor.errors import BudgetError, unknown
from advisor.planning.infeasible import explain
from advisor.planning.program import Answer, Program, build_program
from advisor.planning.table import Choice, CostTable

_EXCLUSIONS = 30  # choices that slipped over a limit by the solver's tolerance, excluded one by one
_TIGHTENINGS = 30  # then the limits shrink
_FIRST_SHARE = 0.7  # of the time limit for the program as it is, the rest for better plans near the one found
_TOLERANCE = 1e-6  # relative, of the solver's bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """One option per layer, and how far it can be from the best one."""

    choice: Choice  # (L,)
    objective: float
    bound: float  # no choice within the limits has a smaller objective
    gap: float  # (objective − bound) / |objective|; 0 where the objective is 0
    status: Literal["optimal", "time limit"]
    seconds: float


def solve(
    table: CostTable, limits: Mapping[str, float], *, gap: float = 1e-3, time_limit: float = 60.0, hint: str = ""
) -> Solution:
    """Least loss within `limits`, proven to `gap`.

    The answer is totalled again on the raw table, and is never over a limit: a choice that the solver let through
    within its tolerance is excluded and the program solved again.

    Args:
        table: the costs.
        limits: cost → upper limit in the cost's unit; none at all gives the plan of least loss.
        gap: relative gap at which to stop, 0 or more.
        time_limit: seconds; the best plan found by then is returned with its gap and status "time limit".
        hint: what else the user could do about a limit that cannot be met; ends that error's text.

    Raises:
        BudgetError: the table does not hold a limited cost, no choice meets the limits, or none was found in time.
    """
    for key in limits:
        if key not in table.keys:
            raise BudgetError(unknown("cost of this table", key, table.keys))
    start = time.perf_counter()
    program = build_program(table, tuple(limits))
    first = time_limit * (_FIRST_SHARE if table.groups else 1.0)
    answer, bound = _feasible(program, limits, gap, start + first)
    if answer is None:
        raise BudgetError(explain(table, limits, hint=hint))
    if answer.choice is None and table.groups:
        answer = _with_one_factor(program, limits, gap, start + time_limit) or answer
    if answer.choice is None:
        raise BudgetError(
            f"no plan found within {time_limit:g} s; raise the time limit (--time-limit), ask for fewer patterns, "
            "or loosen the budgets"
        )
    choice = answer.choice
    if answer.status != "optimal" and table.groups:
        choice = _improved(program, limits, choice, gap, start + time_limit)
    objective = table.objective(choice)
    bound = min(bound, objective)
    reached = (objective - bound) / abs(objective) if objective else 0.0
    return Solution(
        choice=choice,
        objective=objective,
        bound=bound,
        gap=reached,
        status="optimal" if reached <= gap + _TOLERANCE else "time limit",
        seconds=time.perf_counter() - start,
    )


def _with_one_factor(program: Program, limits: Mapping[str, float], gap: float, deadline: float) -> Answer | None:
    """The best choice with every width group near one factor, for programs in which the solver found nothing at all."""
    best: Answer | None = None
    for factor in sorted({level for group in program.table.groups for level in group.levels}, reverse=True):
        nearest = [
            (min(range(len(group.levels)), key=lambda v, ls=group.levels: abs(ls[v] - factor)),)  # type: ignore[misc]
            for group in program.table.groups
        ]
        found, _ = _feasible(program, limits, gap, deadline, levels=nearest)
        if found is not None and found.choice is not None:
            if best is not None and _objective(program, found) >= _objective(program, best):
                break
            best = Answer(status="time limit", choice=found.choice, bound=0.0)
    return best


def _objective(program: Program, answer: Answer) -> float:
    return float("inf") if answer.choice is None else program.table.objective(answer.choice)


def _improved(program: Program, limits: Mapping[str, float], choice: Choice, gap: float, deadline: float) -> Choice:
    """Better choices near one that the solver stopped at: the layers free, each width group at most a level away.

    Coupled levels are what makes large programs slow; nearly fixed, the rest is solved in a moment.
    """
    while time.perf_counter() < deadline:
        near = [range(level - 1, level + 2) for level in program.table.levels_of(choice)]
        found, _ = _feasible(program, limits, gap, deadline, levels=near)
        if found is None or found.choice is None:
            return choice
        if program.table.objective(found.choice) >= program.table.objective(choice) * (1 - 1e-6):
            return choice
        choice = found.choice
    return choice


def _feasible(
    program: Program,
    limits: Mapping[str, float],
    gap: float,
    deadline: float,
    *,
    levels: Sequence[Collection[int]] | None = None,
) -> tuple[Answer | None, float]:
    """An answer whose raw totals keep every limit, and the bound that holds for it; None where there is none.

    The bound of a program with exclusions holds, since only choices over a limit were excluded; that of a program
    with tightened limits does not, so the last one before the tightening stands.
    """
    table, tight, excluded, finer = program.table, dict(limits), list[Choice](), 1.0
    bound, tightened = _least(table), 0  # a bound that always holds, whatever the solver gets to
    while True:
        left = deadline - time.perf_counter()
        answer = program.solve(tight, gap=gap, time_limit=left, excluded=excluded, finer=finer, levels=levels)
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


def _least(table: CostTable) -> float:
    """The loss of every layer and group at its best, whatever it costs."""
    groups = (float(group.loss.min()) for group in table.groups if group.loss is not None)
    return fsum([*(float(column.min()) for column in table.loss), *groups])
