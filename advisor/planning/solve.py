"""The exact choice of one option per layer: a mixed integer program, solved by HiGHS, checked on the raw table."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from advisor.errors import BudgetError, unknown
from advisor.planning.infeasible import explain
from advisor.planning.program import Answer, Program, build_program
from advisor.planning.table import Choice, CostTable

_EXCLUSIONS = 30  # choices that slipped over a limit by the solver's tolerance, excluded one by one
_TIGHTENINGS = 30  # then the limits shrink


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
    answer, bound = _feasible(program, limits, gap, start + time_limit)
    if answer is None:
        raise BudgetError(explain(table, limits, hint=hint))
    if answer.choice is None:
        raise BudgetError(
            f"no plan found within {time_limit:g} s; raise the time limit (--time-limit), ask for fewer patterns, "
            "or loosen the budgets"
        )
    objective = table.objective(answer.choice)
    bound = min(bound, objective)
    return Solution(
        choice=answer.choice,
        objective=objective,
        bound=bound,
        gap=(objective - bound) / abs(objective) if objective else 0.0,
        status="optimal" if answer.status == "optimal" else "time limit",
        seconds=time.perf_counter() - start,
    )


def _feasible(
    program: Program, limits: Mapping[str, float], gap: float, deadline: float
) -> tuple[Answer | None, float]:
    """An answer whose raw totals keep every limit, and the bound that holds for it; None where there is none.

    The bound of a program with exclusions holds, since only choices over a limit were excluded; that of a program
    with tightened limits does not, so the last one before the tightening stands.
    """
    table, tight, excluded, finer = program.table, dict(limits), list[Choice](), 1.0
    bound, tightened = -float("inf"), 0
    while True:
        left = deadline - time.perf_counter()
        answer = program.solve(tight, gap=gap, time_limit=left, excluded=excluded, finer=finer)
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
